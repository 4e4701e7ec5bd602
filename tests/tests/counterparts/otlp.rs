//! One approval is one trace, as an OpenTelemetry collector receives it.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use countersign_tests::{Dev, DevOptions, eventually, operation};
use serde_json::json;

use crate::{counterparts, free_port};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

struct Collector {
    child: Child,
    log: PathBuf,
    grpc: u16,
    http: u16,
    _folder: tempfile::TempDir,
}

impl Collector {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http, log) = (free_port(), free_port(), folder.path().join("collector.log"));
        let output = File::create(&log).unwrap();
        let child = Command::new(program())
            .env("NO_COLOR", "1")
            .args([
                "start",
                "--exporter",
                "blackhole",
                "--debug-log",
                "traces",
                "--debug-log-verbosity",
                "detailed",
            ])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .stdout(Stdio::from(output.try_clone().unwrap()))
            .stderr(Stdio::from(output))
            .spawn()
            .expect("the collector starts");
        let collector = Self { child, log, grpc, http, _folder: folder };
        eventually("the collector listens", || async { TcpStream::connect(("127.0.0.1", http)).ok() }).await;
        collector
    }

    fn received(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The collector's binary, which its Python package carries.
fn program() -> PathBuf {
    let mut libraries = fs::read_dir(counterparts().join("venv/lib")).expect("the environment's libraries");
    let python = libraries.next().expect("a Python version").expect("a folder");
    python.path().join("site-packages/rotel/rotel-agent")
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn the_whole_story_is_one_trace(protocol: &str, endpoint: impl Fn(&Collector) -> String) {
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(&collector)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    let env = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let dev = Dev::start(DevOptions { env, ..DevOptions::default() });

    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let traced = [("traceparent", parent.as_str())];
    let check = dev.check();
    let denial =
        check.post_with("/access/v1/evaluation", &traced, &operation("deploy", &json!({}))).await.ok();
    let mut body = operation("deploy", &json!({}));
    body["denial"] = json!({ "evaluation_id": denial["context"]["evaluation_id"] });
    let task = check.post_with("/access/v1/requests", &traced, &body).await.ok();
    let id = task["task"]["id"].as_str().unwrap().to_owned();
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let task = dev.until_task(&id, "approved").await;
    let context = json!({ "approval": task["result"]["approval"] });
    let permitted =
        check.post_with("/access/v1/evaluation", &traced, &operation("deploy", &context)).await.ok();
    assert_eq!(permitted["decision"], true, "{permitted}");

    let told = [
        "countersign.operation",
        "countersign.evaluate",
        "countersign.hold",
        "countersign.approval.request",
        "countersign.approval.notify",
        "countersign.approval.vote",
        "countersign.approval.grant",
        "countersign.reevaluate",
        "countersign.execute",
    ];
    for span in told {
        eventually(&format!("{span} is in the trace (by {protocol})"), || async {
            in_trace(&collector.received(), span).then_some(())
        })
        .await;
    }
}

/// Whether the collector's log has a span of that name in our trace.
fn in_trace(log: &str, span: &str) -> bool {
    log.split("Span #").any(|block| block.contains(TRACE) && block.contains(span))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc() {
    the_whole_story_is_one_trace("grpc", |collector| format!("http://127.0.0.1:{}", collector.grpc)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http() {
    the_whole_story_is_one_trace("http/protobuf", |collector| format!("http://127.0.0.1:{}", collector.http))
        .await;
}
