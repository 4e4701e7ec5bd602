//! The console's pages besides the inbox: what they show, and to whom; each right is checked again by what
//! a form leads to.

use crate::{
    console::Browser,
    stage::{AUTHOR, ONE, OWNER, Stage, TWO, VIEWER, bundle, deploy},
};

#[tokio::test]
async fn every_request_is_found_by_what_it_is_about() {
    let stage = Stage::new().await;
    let payments = stage.submit(deploy("payments"), "one").await;
    let search = stage.submit(deploy("search"), "one").await;
    stage.vote(&payments, &stage.token(TWO).await, "deny").await.is(201);
    let viewer = Browser::sign_in(&stage, VIEWER).await;
    let link = |id: &str| format!("href=\"/approvals/{id}\"");
    for (query, has_payments, has_search) in [
        ("", true, true),
        ("text=PAYments", true, false),
        ("text=because", true, false),
        ("state=pending", false, true),
        ("state=denied&agent=deploy-bot", true, false),
        (&format!("reviewer={TWO}"), true, false),
        ("from=2099-01-01", false, false),
        ("until=2099-01-01", true, true),
        ("agent=nobody", false, false),
    ] {
        let page = viewer.get(&format!("/history?{query}")).await.is(200).text;
        assert_eq!(page.contains(&link(&payments)), has_payments, "{query}: {page}");
        assert_eq!(page.contains(&link(&search)), has_search, "{query}: {page}");
    }
    let page = viewer.get("/history?from=yesterday&text=%3Cscript%3E").await.is(200).text;
    assert!(page.contains("A date is written like") && !page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn the_inbox_shows_what_is_asked_for() {
    let stage = Stage::new().await;
    stage.submit(deploy("payments"), "one").await;
    stage.submit(deploy("search"), "board").await;
    let one = Browser::sign_in(&stage, ONE).await;
    let all = one.get("/").await.is(200).text;
    assert!(all.contains("1 for you, 1 for others"), "{all}");
    let board = one.get("/?requirement=board").await.is(200).text;
    assert!(board.contains(">search<") && !board.contains("Waiting for you"), "{board}");
    let mine = one.get("/?mine=1&agent=deploy-bot").await.is(200).text;
    assert!(mine.contains(">payments<") && !mine.contains("Waiting for others"), "{mine}");
    assert!(one.get("/?agent=nobody").await.is(200).text.contains("Nothing here matches"));
}

#[tokio::test]
async fn an_admin_adds_and_revokes_agents_and_sees_the_join_token_once() {
    let stage = Stage::new().await;
    let admin = Browser::sign_in(&stage, OWNER).await;
    let csrf = admin.csrf().await;
    let fields = [("csrf", csrf.as_str()), ("name", "second-bot"), ("owner", OWNER)];
    let added = admin.post("/agents", &fields).await.is(200);
    assert!(
        added.text.contains("cj_") || added.text.contains("only time that it is shown"),
        "{}",
        added.text
    );
    assert_eq!(added.header("cache-control"), "no-store");
    assert!(
        admin.post("/agents", &fields).await.is(409).text.contains("there is an agent second-bot already")
    );
    let odd = [("csrf", csrf.as_str()), ("name", "No <b>"), ("owner", OWNER)];
    assert!(!admin.post("/agents", &odd).await.is(400).text.contains("<b>"));

    assert!(admin.get("/agents").await.is(200).text.contains("not enrolled yet"));
    let page = admin.get("/agents/second-bot/revoke").await.is(200).text;
    assert!(page.contains("cannot be undone"), "{page}");
    let gone = admin.post("/agents/second-bot/revoke", &[("csrf", &csrf), ("reason", "lost")]).await;
    assert_eq!(gone.is(303).header("location"), "/agents/second-bot");
    let page = admin.get("/agents/second-bot").await.is(200).text;
    assert!(page.contains("revoked") && !page.contains("Revoke…"), "{page}");
    admin.get("/agents/nobody").await.is(404);
    admin.get("/agents/No%20Agent").await.is(404);
}

#[tokio::test]
async fn an_author_compares_tries_and_brings_back_policies() {
    let stage = Stage::new().await;
    let token = stage.token(AUTHOR).await;
    let mut second = bundle();
    second["note"] = "Second <b>thoughts</b>".into();
    let policy = second["files"]["policies/deploys.cedar"].as_str().unwrap().replace("a reviewer", "an SRE");
    second["files"]["policies/deploys.cedar"] = policy.into();
    stage.post("/api/v1/policy/revisions", &token, second).await.is(201);

    let author = Browser::sign_in(&stage, AUTHOR).await;
    let list = author.get("/policies").await.is(200).text;
    assert!(list.contains("in force") && list.contains("Second &lt;b&gt;thoughts"), "{list}");
    let page = author.get("/policies/2?tests=1").await.is(200).text;
    assert!(page.contains("What changed since revision 1") && page.contains("need an SRE"), "{page}");
    assert!(page.contains("passed"), "{page}");
    assert!(author.get("/policies/2?against=2").await.is(200).text.contains("Nothing differs"));

    let ask = author.get("/policies/1/rollback").await.is(200).text;
    assert!(ask.contains("What would change") && ask.contains("need a reviewer"), "{ask}");
    let csrf = author.csrf().await;
    let back = author.post("/policies/1/rollback", &[("csrf", &csrf), ("note", "too strict")]).await.is(303);
    assert_eq!(back.header("location"), "/policies/3");
    assert!(author.get("/policies/3").await.is(200).text.contains("brings back 1"));
    for path in ["/policies/99", "/policies/x", "/policies/99/rollback"] {
        author.get(path).await.is(404);
    }
}

#[tokio::test]
async fn a_viewer_is_offered_and_may_do_nothing_but_look() {
    let stage = Stage::new().await;
    let viewer = Browser::sign_in(&stage, VIEWER).await;
    for path in ["/history", "/agents", "/agents/deploy-bot", "/policies", "/policies/1"] {
        let page = viewer.get(path).await.is(200).text;
        let forms: Vec<_> = page.match_indices("method=\"post\" action=\"").collect();
        assert_eq!(forms.len(), 1, "nothing but the way out in {path}");
        assert!(
            !page.contains("/revoke\"") && !page.contains("/rollback\"") && !page.contains("\"/settings\"")
        );
    }
    for path in ["/settings", "/agents/deploy-bot/revoke", "/policies/1/rollback"] {
        viewer.get(path).await.is(403);
    }
    let csrf = viewer.csrf().await;
    for (path, field) in [
        ("/agents", ("name", "third-bot")),
        ("/agents/deploy-bot/join-tokens", ("x", "")),
        ("/agents/deploy-bot/revoke", ("reason", "")),
        ("/policies/1/rollback", ("note", "")),
    ] {
        let fields = [("csrf", csrf.as_str()), field, ("owner", VIEWER)];
        viewer.post(path, &fields).await.is(403);
    }
    let admin = Browser::sign_in(&stage, OWNER).await;
    assert!(
        admin.get("/agents").await.text.contains("connected")
            && admin.get("/settings").await.is(200).text.contains("identity.automation_max_age")
    );
}

#[tokio::test]
async fn every_page_is_for_people_who_are_signed_in() {
    let stage = Stage::new().await;
    for path in ["/history", "/agents", "/policies", "/policies/attention", "/channels", "/settings", "/you"]
    {
        assert_eq!(stage.get(path, "").await.is(303).header("location"), format!("/sign-in?next={path}"));
    }
}

#[tokio::test]
async fn several_requests_get_one_vote_each_and_each_by_its_own_rules() {
    let stage = Stage::new().await;
    let first = stage.submit(deploy("payments"), "one").await;
    let second = stage.submit(deploy("search"), "two").await;
    let board = stage.submit(deploy("ledger"), "board").await;
    let one = Browser::sign_in(&stage, ONE).await;
    assert!(one.get("/").await.is(200).text.contains("action=\"/batch\""));
    let page = one.get(&format!("/batch?id={first}&id={second}&id={board}&id={first}")).await.is(200).text;
    assert!(page.contains("Decide on 2 requests") && page.contains(&format!("{first},{second}\"")), "{page}");

    let csrf = one.csrf().await;
    let ids = format!("{first},{second},{board},{first},nonsense");
    let fields = [("csrf", csrf.as_str()), ("ids", &ids), ("decision", "approve"), ("reason", "all three")];
    let done = one.post("/batch", &fields).await.is(200).text;
    assert_eq!(done.matches("your vote counted").count(), 2, "{done}");
    assert_eq!(done.matches("not counted").count(), 1, "{done}");
    let viewer = stage.token(VIEWER).await;
    for (id, state, votes) in [(&first, "approved", 1), (&second, "pending", 1), (&board, "pending", 0)] {
        let approval = stage.get(&format!("/api/v1/approvals/{id}"), &viewer).await.is(200).json();
        assert_eq!(
            (approval["state"].as_str(), approval["votes"].as_array().unwrap().len()),
            (Some(state), votes)
        );
    }
    // The owner gets no vote counted in a heap either (I3), and no form of another session is taken.
    let owner = Browser::sign_in(&stage, OWNER).await;
    let own = owner.csrf().await;
    let fields = |csrf| [("csrf", csrf), ("ids", second.as_str()), ("decision", "approve")];
    assert!(owner.post("/batch", &fields(own.as_str())).await.is(200).text.contains("not counted"));
    owner.post("/batch", &fields(csrf.as_str())).await.is(403);
}

#[tokio::test]
async fn people_look_after_their_own_sessions_and_tokens_only() {
    let stage = Stage::new().await;
    let (one, elsewhere) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, ONE).await);
    let two = Browser::sign_in(&stage, TWO).await;
    let page = one.get("/you").await.is(200).text;
    assert!(page.contains("this one") && page.contains("reviewer"), "{page}");
    let between = |text: &str, before: &str, after: &str| {
        text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).unwrap().0.to_owned()
    };
    let other = between(&page, "/you/sessions/", "/end\"");
    let (csrf, theirs) = (one.csrf().await, two.csrf().await);
    two.post(&format!("/you/sessions/{other}/end"), &[("csrf", &theirs)]).await.is(404);
    elsewhere.get("/you").await.is(200);
    one.post(&format!("/you/sessions/{other}/end"), &[("csrf", &csrf)]).await.is(303);
    elsewhere.get("/you").await.is(303);

    let wish = [("csrf", csrf.as_str()), ("name", "nightly"), ("kind", "machine"), ("days", "7")];
    let made = one.post("/you/tokens", &wish).await.is(200).text;
    let token = between(&made, "<code>cs_", "</code>");
    let machine = stage.actor(&format!("cs_{token}")).await;
    assert!(machine.may(countersign_control_plane::identity::Right::Read));
    assert!(!machine.may(countersign_control_plane::identity::Right::Vote));
    let page = one.get("/you").await.is(200).text;
    assert!(page.contains("nightly") && !page.contains(&token), "it is shown once");
    let odd = [("csrf", csrf.as_str()), ("name", ""), ("kind", "human"), ("days", "7")];
    one.post("/you/tokens", &odd).await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_is_named_for_some_days_and_taken_back() {
    let stage = Stage::new().await;
    let (one, two) = (Browser::sign_in(&stage, ONE).await, Browser::sign_in(&stage, TWO).await);
    let (mine, theirs) = (one.csrf().await, two.csrf().await);
    let id = stage.submit(deploy("payments"), "emergency").await;
    let today = countersign_control_plane::clock::Clock::system().now().to_string();
    let today = &today[..10];
    let wish = |stand_in, until, reason| {
        [
            ("csrf", theirs.as_str()),
            ("stand_in", stand_in),
            ("from", today),
            ("until", until),
            ("reason", reason),
        ]
    };
    for (wish, problem) in [
        (wish(TWO, today, "holiday"), "somebody else than yourself"),
        (wish("nobody@example.com", today, "holiday"), "is not known here"),
        (wish(ONE, today, " "), "give a reason"),
        (wish(ONE, "2099-01-01", "holiday"), "30 days at most"),
        (wish(ONE, "soon", "holiday"), "A date is written like"),
        (wish(ONE, "", "holiday"), "Say until when"),
        (wish("<b>", today, "holiday"), "Nobody was named"),
    ] {
        let refused = two.post("/you/delegations", &wish).await.is(400).text;
        assert!(refused.contains(problem) && !refused.contains("<b>"), "{problem}: {refused}");
    }
    assert!(!one.get(&format!("/approvals/{id}")).await.is(200).text.contains("value=\"approve\""));
    two.post("/you/delegations", &wish(ONE, today, "on <b>holiday")).await.is(303);
    let given = two.get("/you").await.is(200).text;
    assert!(given.contains("stands in for you") && given.contains("on &lt;b&gt;holiday"), "{given}");
    let taken = one.get("/you").await.is(200).text;
    assert!(taken.contains("You stand in for") && taken.contains("Step down"), "{taken}");
    // An admin's own page has their own; others have nothing to take back.
    let admin = Browser::sign_in(&stage, OWNER).await;
    assert!(!admin.get("/you").await.is(200).text.contains("on &lt;b&gt;holiday"));
    let (_, rest) = given.split_once("/you/delegations/").unwrap();
    let revoke = format!("/you/delegations/{}/revoke", rest.split('/').next().unwrap());
    let viewer = Browser::sign_in(&stage, VIEWER).await;
    let csrf = viewer.csrf().await;
    viewer.post(&revoke, &[("csrf", &csrf)]).await.is(404);
    assert!(one.get(&format!("/approvals/{id}")).await.is(200).text.contains("value=\"approve\""));
    one.post(&revoke, &[("csrf", &mine)]).await.is(303);
    assert!(!two.get("/you").await.is(200).text.contains("stands in for you"));
    assert!(!one.get(&format!("/approvals/{id}")).await.is(200).text.contains("value=\"approve\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn authors_see_where_attention_goes_and_what_would_make_asking_needless() {
    let stage = Stage::new().await;
    for person in [ONE, TWO, VIEWER] {
        let browser = Browser::sign_in(&stage, person).await;
        browser.get("/policies/attention").await.is(403);
        assert!(!browser.get("/policies").await.is(200).text.contains("/policies/attention"));
    }
    let author = Browser::sign_in(&stage, AUTHOR).await;
    assert!(author.get("/policies").await.is(200).text.contains("/policies/attention"));
    assert!(author.get("/policies/attention?days=7").await.is(200).text.contains("Nobody was asked"));
    let one = stage.token(ONE).await;
    for _ in 0..5 {
        let id = stage.submit(deploy("payments"), "one").await;
        stage.vote(&id, &one, "approve").await.is(201);
    }
    let page = author.get("/policies/attention").await.is(200).text;
    for expected in
        ["By reviewer", ONE, "100 %", "approved 5 times", "would become", "Service::&quot;payments&quot;"]
    {
        assert!(page.contains(expected), "{expected} in {page}");
    }
}

/// An agent that says otherwise of its target does not take the red label off it.
#[tokio::test(flavor = "multi_thread")]
async fn production_is_what_policy_says_it_is() {
    let stage = Stage::new().await;
    let mut harmless = deploy("vault");
    harmless["resource"]["properties"] = serde_json::json!({"environment": "staging"});
    let vault = stage.submit(harmless, "one").await;
    let other = stage.submit(deploy("search"), "one").await;
    let one = Browser::sign_in(&stage, ONE).await;
    let page = one.get(&format!("/approvals/{vault}")).await.is(200).text;
    assert!(page.contains("class=\"tag production\"") && page.contains("billing"), "{page}");
    let page = one.get(&format!("/approvals/{other}")).await.is(200).text;
    assert!(!page.contains("class=\"tag production\""), "{page}");
    let token = stage.token(ONE).await;
    let outline = stage.get(&format!("/api/v1/approvals/{vault}/outline"), &token).await.is(200).json();
    assert_eq!(outline["production"], true);
}
