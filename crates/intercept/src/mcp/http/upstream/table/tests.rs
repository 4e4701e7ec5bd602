//! Every message reaches the one whom it concerns, and nobody else.

use proptest::prelude::*;

use super::*;

fn request(id: &str, method: &str, meta: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"_meta":{{{meta}}}}}}}"#)
}

fn raw(line: &str, path: &[&str]) -> String {
    let inner = path.iter().fold(line, |text, name| Members::parse(text).unwrap().raw(name).unwrap());
    inner.to_owned()
}

fn taken(table: &mut Table, stream: u64, text: &str) -> String {
    table.take(stream, text).unwrap().line.unwrap()
}

fn to(stream: u64, text: &str, is_last: bool) -> Route<'_> {
    Route::Stream { stream, text: text.into(), is_last }
}

#[test]
fn callers_with_the_same_id_and_token_each_get_their_own() {
    let mut table = Table::new(Callers::Many);
    let asked = request("1", "tools/call", r#""progressToken":1"#);
    let lines = [1, 2].map(|stream| taken(&mut table, stream, &asked));
    let (first, second) = (raw(&lines[0], &["id"]), raw(&lines[1], &["id"]));
    assert_ne!(first, second);
    let token = raw(&lines[1], &["params", "_meta", "progressToken"]);
    let progress = |token: &str| {
        format!(r#"{{"method":"notifications/progress","params":{{ "progressToken" : {token} }}}}"#)
    };
    assert_eq!(table.route(&progress(&token)), to(2, &progress("1"), false));
    assert!(matches!(table.route(&progress("1")), Route::Nowhere(_)), "no caller's own token counts");
    let answer = |id: &str| format!(r#"{{"id" :{id}, "result":{{"id":{id}}}}}"#);
    let passed = format!(r#"{{"id" :1, "result":{{"id":{second}}}}}"#);
    assert_eq!(table.route(&answer(&second)), to(2, &passed, true), "and nothing else is touched");
    assert!(matches!(table.route(&answer(&second)), Route::Nowhere(_)), "once");
    assert!(matches!(table.route(&answer("1")), Route::Nowhere(_)), "it was never asked that");
    assert!(matches!(table.route(&answer(&first)), Route::Stream { stream: 1, .. }));
    assert!(matches!(table.route(&progress(&token)), Route::Nowhere(_)), "progress ends with the answer");
}

#[test]
fn a_caller_of_many_that_goes_cancels_what_it_asked() {
    let mut table = Table::new(Callers::Many);
    let line = taken(&mut table, 1, &request("7", "tools/call", ""));
    let kept = taken(&mut table, 2, &request("7", "tools/call", ""));
    // Its own notice could mean anybody's request.
    let notice = r#"{"method":"notifications/cancelled","params":{"requestId":7}}"#;
    assert_eq!(table.take(1, notice).unwrap(), Taken::default());
    let told = table.hang_up(1);
    assert_eq!(raw(&told[0], &["params", "requestId"]), raw(&line, &["id"]));
    assert!(table.hang_up(1).is_empty());
    assert!(matches!(table.route(&line.replace("\"method\"", "\"result\"")), Route::Nowhere(_)));
    assert_eq!(raw(&table.hang_up(2)[0], &["params", "requestId"]), raw(&kept, &["id"]));
}

#[test]
fn subscriptions_are_told_apart_and_end() {
    let mut table = Table::new(Callers::Many);
    let line = taken(&mut table, 1, &request("\"a\"", "subscriptions/listen", ""));
    taken(&mut table, 2, &request("\"a\"", "subscriptions/listen", ""));
    let id = raw(&line, &["id"]);
    let notice = |method: &str, id: &str| {
        format!(r#"{{"method":"notifications/{method}","params":{{"_meta":{{"{SUBSCRIPTION}":{id}}}}}}}"#)
    };
    let changed = notice("tools/list_changed", &id);
    assert_eq!(table.route(&changed), to(1, &notice("tools/list_changed", "\"a\""), false));
    assert!(matches!(table.route(&notice("tools/list_changed", "\"a\"")), Route::Nowhere(_)));
    let end = |id: &str| format!(r#"{{"id":{id},"result":{{"_meta":{{"{SUBSCRIPTION}":{id}}}}}}}"#);
    assert_eq!(table.route(&end(&id)), to(1, &end("\"a\""), true));
    let line = taken(&mut table, 3, &request("5", "subscriptions/listen", ""));
    let over = |id: &str| format!(r#"{{"method":"{CANCELLED}","params":{{"requestId":{id}}}}}"#);
    assert_eq!(table.route(&over(&raw(&line, &["id"]))), to(3, &over("5"), true));
    let line = taken(&mut table, 4, &request("6", "tools/call", ""));
    assert!(matches!(table.route(&over(&raw(&line, &["id"]))), Route::Nowhere(_)), "no other request");
}

#[test]
fn log_messages_go_to_the_only_one_who_wants_them() {
    let mut table = Table::new(Callers::Many);
    let log = r#"{"method":"notifications/message","params":{"data":"secret of a caller"}}"#;
    taken(&mut table, 1, &request("1", "tools/call", ""));
    assert!(matches!(table.route(log), Route::Nowhere(_)));
    let wants = format!("\"{LOG_LEVEL}\":\"debug\"");
    taken(&mut table, 2, &request("1", "tools/call", &wants));
    assert_eq!(table.route(log), to(2, log, false));
    taken(&mut table, 3, &request("1", "tools/call", &wants));
    assert!(matches!(table.route(log), Route::Nowhere(_)));
}

#[test]
fn a_session_keeps_its_bytes() {
    let mut table = Table::new(Callers::One);
    let asked =
        " { \"id\" : 1.0 ,\n\"method\":\"tools/call\",\r\n\"params\":{\"_meta\":{\"progressToken\":\"p\"}}} ";
    let line = taken(&mut table, 1, asked);
    assert_eq!(line, asked.trim().replace(['\n', '\r'], " "));
    assert_eq!(table.take(2, asked), Err(TableError::Duplicate));
    let progress = r#"{"method":"notifications/progress","params":{"progressToken":"p"}}"#;
    assert_eq!(table.route(progress), to(1, progress, false));
    for unasked in [
        r#"{"method":"notifications/progress","params":{"progressToken":"of a task"}}"#,
        r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"method":"roots/list","id":1}"#,
    ] {
        assert_eq!(table.route(unasked), Route::Unasked, "{unasked}");
    }
    let answer = r#"{"id":1,"result":{}}"#;
    assert_eq!(table.route(answer), to(1, answer, true));
    for junk in [answer, "npm notice", r#"{"id":null,"error":{}}"#, r#"{"id":1,"id":2,"result":{}}"#, "{}"] {
        assert!(matches!(table.route(junk), Route::Nowhere(_)), "{junk}");
    }
}

#[test]
fn the_sidecars_own_requests_get_in_nobodys_way() {
    let mut table = Table::new(Callers::One);
    let ping = request("\"countersign-ping\"", "ping", "");
    let lines = [1, 2].map(|stream| taken(&mut table, stream, &ping));
    assert_ne!(raw(&lines[0], &["id"]), raw(&lines[1], &["id"]));
    assert!(table.take(3, &ping).unwrap().is_ours);
    // A client that writes such an id in another way cannot take it over.
    taken(&mut table, 4, &request("\"countersign\\u002d4\"", "tools/call", ""));
    let line = taken(&mut table, 5, &ping);
    let answer = format!(r#"{{"id":{},"result":{{}}}}"#, raw(&line, &["id"]));
    assert!(matches!(table.route(&answer), Route::Stream { stream: 5, .. }));
}

#[test]
fn a_request_that_is_taken_back_ends_its_stream() {
    let mut table = Table::new(Callers::One);
    for id in ["1", "2"] {
        taken(&mut table, 1, &request(id, "tools/call", ""));
    }
    taken(&mut table, 2, &request("\"countersign-x\"", "tools/call", ""));
    let cancel = |id: &str| format!(r#"{{"method":"{CANCELLED}","params":{{"requestId":{id}}}}}"#);
    assert_eq!(table.take(9, &cancel("1")).unwrap().ended, None);
    let last = table.take(9, &cancel("2")).unwrap();
    assert_eq!((last.ended, last.line), (Some(1), Some(cancel("2"))));
    let renamed = table.take(9, &cancel("\"countersign-x\"")).unwrap();
    assert_eq!((renamed.ended, renamed.line), (Some(2), Some(cancel("\"countersign-1\""))));
    assert_eq!(table.take(9, &cancel("8")).unwrap().line, Some(cancel("8")));
    assert!(table.hang_up(1).is_empty(), "in a session nobody cancels by going away");
}

#[test]
fn what_is_asked_is_bounded() {
    let mut table = Table::new(Callers::Many);
    let long = format!("\"{}\"", "x".repeat(MAX_ID));
    assert_eq!(table.take(0, &request(&long, "x", "")), Err(TableError::LongId));
    let meta = format!("\"progressToken\":{long}");
    assert_eq!(table.take(0, &request("1", "x", &meta)), Err(TableError::LongId));
    for stream in 0..MAX_ASKED as u64 {
        taken(&mut table, stream, &request("1", "x", ""));
    }
    assert_eq!(table.take(0, &request("1", "x", "")), Err(TableError::Full));
}

fn space() -> impl Strategy<Value = String> {
    "[ \\t\\r\\n]{0,2}"
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof!["-?[1-9][0-9]{0,20}", "\"[a-z0-9 é]{0,8}\"", Just(r#""\u0061\"}""#.to_owned())]
}

proptest! {
    #[test]
    fn ids_and_tokens_are_changed_and_restored_and_no_other_byte_is(
        id in id(), token in id(), space in proptest::collection::vec(space(), 6),
        extra in prop_oneof![Just("1.50e1".to_owned()), "\"[a-z]{0,5}\""], many in any::<bool>()
    ) {
        let message = |id: &str, token: &str| {
            let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|at: usize| space[at].as_str());
            format!(
                "{{{a}\"x\":{extra},\"id\"{b}:{c}{id}{d},\"method\":\"m\",\"params\":{{\"a\":{e}{extra},\
                 \"_meta\":{{\"progressToken\":{f}{token},\"y\":[{extra}]}}}},\"z\":{extra}}}"
            )
        };
        let flat = |text: String| text.replace(['\n', '\r'], " ");
        let mut table = Table::new(if many { Callers::Many } else { Callers::One });
        let line = taken(&mut table, 3, &message(&id, &token));
        let known = (raw(&line, &["id"]), raw(&line, &["params", "_meta", "progressToken"]));
        prop_assert_eq!(many, known.0 != id);
        prop_assert_eq!(&line, &flat(message(&known.0, &known.1)));
        let progress = |token: &str| {
            format!("{{\"method\":\"notifications/progress\",\"params\":{{\"x\":{extra},\"progressToken\":{token}}}}}")
        };
        prop_assert!(table.route(&progress(&known.1)) == to(3, &progress(&token), false));
        let answer = |id: &str| format!("{{\"result\":{{\"x\":{extra}}},\"id\":{id},\"y\":{extra}}}");
        prop_assert!(table.route(&answer(&known.0)) == to(3, &answer(&id), true));
        prop_assert!(table.asked.is_empty() && table.tokens.is_empty());
    }
}
