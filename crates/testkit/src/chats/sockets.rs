//! Slack's end of Socket Mode.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

/// Where sockets are opened.
#[derive(Debug)]
pub struct Sockets(TcpListener);

/// A socket that a control plane has opened. Dropped, it is gone without a word.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

impl Sockets {
    /// Waits for sockets on a free port.
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The address that is handed out, ticket and all.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/link?ticket=secret", self.0.local_addr().unwrap())
    }

    /// The next socket, greeted.
    pub async fn next(&self) -> Socket {
        loop {
            let (stream, _) = self.0.accept().await.unwrap();
            // Who was killed in between has left a connection that nobody speaks on.
            let Ok(socket) = accept_async(stream).await else { continue };
            let mut socket = Socket(socket);
            socket.say(&json!({"type": "hello", "num_connections": 2})).await;
            return socket;
        }
    }
}

impl Socket {
    /// Says something.
    pub async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Delivers a payload in an envelope, and waits until that is acknowledged.
    pub async fn deliver(&mut self, envelope: &str, payload: &Value) {
        self.say(&json!({
            "type": "interactive", "envelope_id": envelope, "accepts_response_payload": true, "payload": payload,
        }))
        .await;
        assert_eq!(self.acknowledged().await, envelope);
    }

    /// The next envelope that is acknowledged.
    async fn acknowledged(&mut self) -> String {
        while let Some(message) = self.0.next().await {
            if let Message::Text(text) = message.unwrap() {
                let answer: Value = serde_json::from_str(&text).unwrap();
                return answer["envelope_id"].as_str().unwrap().to_owned();
            }
        }
        panic!("the socket was closed");
    }
}
