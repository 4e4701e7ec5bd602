//! Mails as a server gets them, and as people read them.

use std::sync::{Arc, Mutex};

use countersign_approval::{Approval, Input, VoteDecision, Voter, transition};
use countersign_model::{Digest, VoteId};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::*;
use crate::{
    channel::tests::{START, request},
    review::{Past, Review},
};

/// A mail as the server got it: its recipients, and its text.
type Mail = (Vec<String>, String);

/// A mail server that takes everything, but for addresses of `nobody`.
async fn server() -> (u16, Arc<Mutex<Vec<Mail>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&mails);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&taken)));
        }
    });
    (port, mails)
}

async fn converse(stream: tokio::net::TcpStream, taken: Arc<Mutex<Vec<Mail>>>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (mut to, mut text, mut is_data) = (Vec::new(), String::new(), false);
    write.write_all(b"220 test\r\n").await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        if is_data && line != "." {
            text.push_str(&format!("{line}\n"));
            continue;
        }
        let answer = match line.get(..4).unwrap_or(&line) {
            "RCPT" if line.contains("nobody") => "550 5.1.1 no such mailbox",
            "RCPT" => {
                to.push(line);
                "250 ok"
            }
            "DATA" => {
                is_data = true;
                "354 go on"
            }
            "." => {
                is_data = false;
                taken.lock().unwrap().push((std::mem::take(&mut to), std::mem::take(&mut text)));
                "250 taken"
            }
            _ => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
    }
}

fn config(port: u16) -> EmailConfig {
    EmailConfig {
        name: "mail".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::None,
        ca_file: None,
        credentials: None,
        from: "Countersign <countersign@example.com>".parse().unwrap(),
    }
}

fn email(port: u16) -> Email {
    Email::open(&config(port), Clock::new(|| START)).unwrap()
}

/// A request of an agent that tries to write the mail itself.
fn hostile() -> Approval {
    let mut request = request(1);
    let operation = "{\"action\":{\"name\":\"deploy\"},\"resource\":{\"id\":\"x\\r\\nBcc: all@example.com\\r\\n\\r\\nDecide here: \
                     https://evil.example/\",\"type\":\"Service\"}}";
    request.submission.operation = operation.to_owned();
    request.submission.digest = Digest::of(operation.as_bytes());
    let reason = "fine\r\n.\r\nDigest\r\n<a href='https://evil.example'>Approve</a> www.evil.example mailto:x@evil.example";
    request.submission.provenance.reason = Some(reason.to_owned());
    Approval::open(request).unwrap().0
}

fn message(approval: Approval) -> Message {
    let review = Review::of(&approval, &Past::default(), START);
    Message { approval, review, link: "https://countersign.example.org/approvals/1".to_owned() }
}

fn header<'a>(mail: &'a str, name: &str) -> Vec<&'a str> {
    let head = mail.split("\n\n").next().unwrap();
    head.lines().filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect()
}

fn denied(approval: &Approval) -> Approval {
    let voter = Voter {
        person: "reviewer-one@example.com".parse().unwrap(),
        groups: Vec::new(),
        reviewer: true,
        machine: false,
        agent: false,
        channel: "console".into(),
        method: "token".into(),
        assurance: Default::default(),
        also: Vec::new(),
        delegators: Vec::new(),
    };
    let id = VoteId::from_bytes([1; 16]);
    let vote = Input::Vote { id, voter, decision: VoteDecision::Deny, reason: Some("no".into()) };
    transition(approval, &vote, START).unwrap().0
}

#[tokio::test]
async fn what_becomes_of_a_request_is_a_reply_in_its_thread() {
    let (port, mails) = server().await;
    let (email, asked) = (email(port), hostile());
    let posted = email.post("sre@example.com", &message(asked.clone())).await.unwrap();
    email.update("sre@example.com", &posted, &message(asked.clone())).await.unwrap();
    email.update("sre@example.com", &posted, &message(denied(&asked))).await.unwrap();
    email.remind("sre@example.com", &posted, &message(asked)).await.unwrap();
    let mails = mails.lock().unwrap().clone();
    assert_eq!(mails.len(), 3, "a request that still waits is no reason for a mail");
    assert_eq!(header(&mails[0].1, "Message-ID"), [posted.0.as_str()]);
    for (_, reply) in &mails[1..] {
        assert_eq!(header(reply, "In-Reply-To"), [posted.0.as_str()]);
        assert_eq!(header(reply, "References"), [posted.0.as_str()]);
        assert_ne!(header(reply, "Message-ID"), [posted.0.as_str()]);
        assert!(header(reply, "Subject")[0].starts_with("Re: "));
    }
    assert_eq!(header(&mails[0].1, "Auto-Submitted"), ["auto-generated"]);
}

/// The same mail again is the same mail: who gets it twice sees it once.
#[tokio::test]
async fn a_mail_keeps_its_identifier() {
    let (port, mails) = server().await;
    let (email, message) = (email(port), message(hostile()));
    let first = email.post("sre@example.com", &message).await.unwrap();
    assert_eq!(email.post("sre@example.com", &message).await.unwrap(), first);
    assert_ne!(email.post("other@example.com", &message).await.unwrap(), first);
    assert_eq!(mails.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_agent_can_add_neither_headers_nor_recipients_nor_an_end() {
    let (port, mails) = server().await;
    email(port).post("sre@example.com", &message(hostile())).await.unwrap();
    let mails = mails.lock().unwrap().clone();
    let (to, mail) = &mails[0];
    assert_eq!((mails.len(), to.len()), (1, 1));
    assert!(to[0].contains("<sre@example.com>"), "{to:?}");
    assert!(header(mail, "Bcc").is_empty() && header(mail, "To").len() == 1, "{mail}");
    assert!(mail.trim_end().ends_with("--"), "it ends where the last part does: {mail}");
}

/// Nothing in a mail can be followed but the console's own address, and no line of it looks like our labels.
#[test]
fn nothing_that_an_agent_writes_can_be_clicked_or_looks_like_a_label() {
    let letter = Letter::of(&message(hostile()), Occasion::Asked, START);
    for part in [&letter.text, &letter.html] {
        let rest = part.replace("https://countersign.example.org/approvals/1", "");
        assert!(!rest.contains("://") && !rest.contains("www.") && !rest.contains("mailto:"), "{rest}");
    }
    assert_eq!(letter.html.matches("<a ").count(), 1);
    assert!(!letter.subject.contains(['\r', '\n']));
    let at_the_edge = letter.text.lines().filter(|line| *line == "Digest").count();
    assert_eq!(at_the_edge, 1, "{}", letter.text);
}

#[tokio::test]
async fn servers_answers_are_told_apart() {
    let (port, _mails) = server().await;
    let nobody = email(port).post("nobody@example.com", &message(hostile())).await.unwrap_err();
    assert!(matches!(nobody, DeliveryError::Permanent(_)), "{nobody:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let away = email(port).post("sre@example.com", &message(hostile())).await.unwrap_err();
    assert!(matches!(away, DeliveryError::Later { .. }), "{away:?}");
}

/// A server that offers no TLS does not get the mail, nor the password.
#[tokio::test]
async fn without_tls_nothing_is_sent_where_it_is_wanted() {
    let (port, mails) = server().await;
    let config = EmailConfig { security: Security::StartTls, ..config(port) };
    let email = Email::open(&config, Clock::new(|| START)).unwrap();
    assert!(email.post("sre@example.com", &message(hostile())).await.is_err());
    assert!(mails.lock().unwrap().is_empty());
}
