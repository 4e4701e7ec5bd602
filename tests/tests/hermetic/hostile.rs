//! Garbage on every port, tokens raced for, agents that were revoked.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::Duration,
};

use countersign_tests::{Dev, DevOptions, Site, binary, eventually};
use serde_json::json;

/// What does not become a request, in every way that we could think of.
fn garbage() -> Vec<Vec<u8>> {
    let noise: Vec<u8> =
        (0..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        noise,
        vec![0; 1024],
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n".to_vec(),
        b"POST /access/v1/evaluation HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST /access/v1/evaluation HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
            .to_vec(),
        [b"GET /".as_slice(), &[b'a'; 100_000], b" HTTP/1.1\r\n\r\n"].concat(),
    ]
}

fn throw(stream: &mut (impl Read + Write), bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    let mut answer = [0; 512];
    let _ = stream.read(&mut answer);
}

#[tokio::test]
async fn garbage_on_every_port_harms_nobody() {
    let dev = Dev::start(DevOptions::default());
    let short = Some(Duration::from_millis(300));
    for bytes in garbage() {
        for base in [&dev.api, &dev.check] {
            let mut stream = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
            stream.set_read_timeout(short).unwrap();
            throw(&mut stream, &bytes);
        }
        let mut stream = UnixStream::connect(dev.text("check_socket")).unwrap();
        stream.set_read_timeout(short).unwrap();
        throw(&mut stream, &bytes);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for datagram in bytes.chunks(1_200) {
            let _ = socket.send_to(datagram, dev.text("link"));
        }
    }
    assert_eq!(dev.evaluate("read", &json!({})).await["decision"], true);
    let id = dev.request("deploy").await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let task = dev.until_task(&id, "approved").await;
    assert_eq!(dev.redeem("deploy", &task).await["decision"], true);
}

#[tokio::test]
async fn bodies_that_readers_could_disagree_about_are_refused() {
    let dev = Dev::start(DevOptions::default());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let operation = |action: &str| {
        format!(
            r#"{{"subject":{{"type":"Agent","id":"a"}},"action":{action},"resource":{{"type":"Service","id":"payments"}}}}"#
        )
    };
    for action in [
        r#"{"name":"read","name":"deploy"}"#,
        r#"{"name":"deploy","na\u006de":"read"}"#,
        r#"{"name":"read","properties":{"amount":9007199254740993}}"#,
    ] {
        let answer = client
            .post(format!("{}/access/v1/evaluation", dev.check))
            .bearer_auth(&dev.check_token)
            .header("content-type", "application/json")
            .body(operation(action))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{action}");
    }
}

#[tokio::test]
async fn a_join_token_is_for_one_sidecar_however_many_race() {
    let site = Site::control_only(|_| {}).await;
    let added = json!({ "name": "raced", "owner": "owner@example.com" });
    let added = site.admin().post("/api/v1/agents", &added).await.ok();
    let token = added["token"].as_str().unwrap().to_owned();
    let racers: Vec<_> = (0..6)
        .map(|number| {
            let mut command = Command::new(binary("countersign-sidecar"));
            command.arg("--json").env("COUNTERSIGN_JOIN_TOKEN", &token);
            command.args([
                "--set",
                &format!("data={}", site.folder().join(format!("racer-{number}")).display()),
            ]);
            command.args(["--set", &format!("control={}", site.link()), "--set", "check.listen=127.0.0.1:0"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let lines: Vec<_> = racers
        .into_iter()
        .map(|mut racer| {
            std::thread::spawn(move || {
                let mut line = String::new();
                let output = racer.stdout.take().unwrap();
                let _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line);
                let _ = racer.kill();
                let _ = racer.wait();
                line.contains("\"ready\":true")
            })
        })
        .collect();
    let enrolled = lines.into_iter().filter_map(|line| line.join().ok()).filter(|enrolled| *enrolled).count();
    assert_eq!(enrolled, 1, "single use, even under a race");
}

#[tokio::test]
async fn a_revoked_agent_is_cut_off_and_stays_out() {
    let mut site = Site::start(|_| {}).await;
    site.until_connected().await;
    site.admin().post("/api/v1/agents/site-agent/revoke", &json!({})).await.ok();
    eventually("the link is closed", || async {
        let agent = site.admin().get("/api/v1/agents/site-agent").await.ok();
        (agent["connected"] == false).then_some(())
    })
    .await;
    let denial = site.evaluate("deploy", &json!({})).await;
    let answer = site.try_request("deploy", &denial).await;
    assert!(answer.status >= 400, "no approval without a link: {}", answer.text);
    site.kill_sidecar();
    assert!(!site.comes_back().await, "a revoked agent is refused on reconnect");
}

#[tokio::test]
async fn strangers_are_refused_everywhere() {
    let dev = Dev::start(DevOptions::default());
    let nobody = dev.admin().with_token("");
    for path in ["/api/v1/approvals", "/api/v1/agents", "/api/v1/audit/events", "/api/v1/policy/revisions"] {
        assert_eq!(nobody.get(path).await.status, 401, "{path}");
    }
    let check = dev.check().with_token("wrong");
    let body = countersign_tests::operation("read", &json!({}));
    assert_eq!(check.post("/access/v1/evaluation", &body).await.status, 401);
}
