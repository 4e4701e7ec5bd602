//! The aws CLI through `countersign exec`, against moto.

use std::{
    env,
    net::TcpStream,
    process::{Child, Command, Output},
};

use countersign_tests::{Dev, DevOptions, eventually};

use crate::{counterparts, free_port};

/// moto's server, and the environment that points the aws CLI at it.
struct Aws {
    server: Child,
    endpoint: String,
}

impl Aws {
    async fn start() -> Self {
        let port = free_port();
        let server = Command::new(counterparts().join("venv/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .spawn()
            .expect("moto starts");
        let aws = Self { server, endpoint: format!("http://127.0.0.1:{port}") };
        eventually("moto listens", || async { TcpStream::connect(("127.0.0.1", port)).ok() }).await;
        aws
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("PATH", Self::path())
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "testing")
            .env("AWS_SECRET_ACCESS_KEY", "testing")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_PAGER", "")
            .env_remove("AWS_CA_BUNDLE");
    }

    /// The search path with the aws CLI on it: for the agent's host and for its sidecar, which trusts
    /// programs by where its own path has them.
    fn path() -> String {
        format!("{}:{}", counterparts().join("venv/bin").display(), env::var("PATH").unwrap_or_default())
    }

    fn dev() -> Dev {
        let env = vec![("PATH".to_owned(), Self::path())];
        Dev::start(DevOptions { starter: true, env, ..DevOptions::default() })
    }

    /// The aws CLI, directly: the operator's own hands.
    fn directly(&self, args: &[&str]) -> Output {
        let mut command = Command::new(counterparts().join("venv/bin/aws"));
        self.environment(&mut command);
        command.args(args).output().expect("aws runs")
    }

    /// The aws CLI through the sidecar: the agent's hands.
    fn as_agent(&self, dev: &Dev, args: &[&str]) -> tokio::task::JoinHandle<Output> {
        let mut command = dev.countersign();
        self.environment(&mut command);
        command.args(["exec", "--", "aws"]).args(args);
        tokio::task::spawn_blocking(move || command.output().expect("countersign exec runs"))
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::reports/*"}]}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_bucket_policies_and_roles_wait_for_people() {
    let dev = Aws::dev();
    let aws = Aws::start().await;
    stdout(&aws.directly(&["secretsmanager", "create-secret", "--name", "db", "--secret-string", "hunter2"]));
    stdout(&aws.directly(&["s3api", "create-bucket", "--bucket", "reports"]));
    stdout(&aws.directly(&[
        "iam",
        "create-role",
        "--role-name",
        "app",
        "--assume-role-policy-document",
        TRUST,
    ]));

    let secret = ["secretsmanager", "get-secret-value", "--secret-id", "db", "--output", "json"];
    let run = aws.as_agent(&dev, &secret);
    let asked = dev.decide_next(&[0], "approve").await;
    let output = run.await.unwrap();
    assert!(stdout(&output).contains("hunter2"));
    assert_eq!(asked["operation"]["resource"]["id"], "db", "the secret is the resource: {asked}");
    dev.until(asked["id"].as_str().unwrap(), "executed").await;

    let bucket_policy = ["s3api", "put-bucket-policy", "--bucket", "reports", "--policy", POLICY];
    let run = aws.as_agent(&dev, &bucket_policy);
    let asked = dev.decide_next(&[0], "approve").await;
    stdout(&run.await.unwrap());
    assert!(
        asked["operation_text"].as_str().unwrap().contains("s3:GetObject"),
        "all of it is shown: {asked}"
    );
    let read_back = ["s3api", "get-bucket-policy", "--bucket", "reports", "--output", "text"];
    assert!(stdout(&aws.directly(&read_back)).contains("s3:GetObject"));

    let role_policy = [
        "iam",
        "put-role-policy",
        "--role-name",
        "app",
        "--policy-name",
        "wide",
        "--policy-document",
        POLICY,
    ];
    let run = aws.as_agent(&dev, &role_policy);
    dev.decide_next(&[0], "deny").await;
    let refused = run.await.unwrap();
    assert_eq!(refused.status.code(), Some(77), "{}", String::from_utf8_lossy(&refused.stderr));
    let listed = stdout(&aws.directly(&["iam", "list-role-policies", "--role-name", "app"]));
    assert!(!listed.contains("wide"), "the refused call never reached the service: {listed}");

    // A refusal stands for a while: asking again for the same is answered by it.
    let again = aws.as_agent(&dev, &role_policy).await.unwrap();
    assert_eq!(again.status.code(), Some(77), "{}", String::from_utf8_lossy(&again.stderr));

    let narrow = [
        "iam",
        "put-role-policy",
        "--role-name",
        "app",
        "--policy-name",
        "narrow",
        "--policy-document",
        POLICY,
    ];
    let run = aws.as_agent(&dev, &narrow);
    dev.decide_next(&[0], "approve").await;
    stdout(&run.await.unwrap());
    let listed = stdout(&aws.directly(&["iam", "list-role-policies", "--role-name", "app"]));
    assert!(listed.contains("narrow") && !listed.contains("wide"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_denies_never_reaches_the_service() {
    let dev = Aws::dev();
    let aws = Aws::start().await;
    let refused = aws.as_agent(&dev, &["iam", "create-user", "--user-name", "backdoor"]).await.unwrap();
    assert_eq!(refused.status.code(), Some(77), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!stdout(&aws.directly(&["iam", "list-users"])).contains("backdoor"));
}
