//! Noise on the ports does not disturb those who behave.

use countersign_protocol::Heartbeat;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_ports_disturbs_nobody() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [1_usize, 20, 600, 1_200, 1_400] {
        for byte in [0x00_u8, 0x40, 0xc0, 0xff] {
            noise.send_to(&vec![byte; length], world.running.link_addr()).await.unwrap();
        }
    }
    for garbage in
        [&b"\0\0\0\0"[..], b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    {
        let mut stream = TcpStream::connect(world.running.api_addr()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Whatever it says, it says it and hangs up.
        let _ = stream.read_to_end(&mut answer).await;
    }
    let heartbeat = Heartbeat { revision: None, spool_depth: 0, pending: vec![] };
    sidecar.link.request(heartbeat).await.unwrap();
    assert!(world.running.services().status.readiness().await.ready);
    world.running.shutdown().await.unwrap();
}
