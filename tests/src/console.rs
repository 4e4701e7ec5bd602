//! Somebody in the console, without a browser.

use reqwest::{Client, redirect};

/// A person who is signed in.
#[derive(Debug, Clone)]
pub struct Console {
    client: Client,
    base: String,
    cookie: String,
}

impl Console {
    /// Signs somebody in with their token.
    ///
    /// # Panics
    /// When they are not let in.
    pub async fn sign_in(base: &str, token: &str) -> Self {
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build();
        let visitor =
            Self { client: client.expect("an HTTP client"), base: base.to_owned(), cookie: String::new() };
        let answer = visitor.post("/sign-in", format!("token={token}")).await;
        let cookie = answer.headers().get("set-cookie").expect("a session's cookie");
        let (cookie, _) = cookie.to_str().expect("text").split_once(';').expect("a cookie's attributes");
        Self { cookie: cookie.to_owned(), ..visitor }
    }

    /// A page.
    ///
    /// # Panics
    /// When it is not shown.
    pub async fn page(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.base)).header("cookie", &self.cookie);
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let page = answer.text().await.expect("a page");
        assert!(status.is_success(), "{status} {page}");
        page
    }

    /// Opens the link of an account in a chat, and agrees that it is theirs. Says what became of it.
    ///
    /// # Panics
    /// When there is no such link.
    pub async fn link_account(&self, url: &str) -> reqwest::StatusCode {
        let (_, secret) = url.split_once("secret=").expect("a link's secret");
        let form = format!("csrf={}&secret={secret}", field(&self.page("/").await, "csrf"));
        self.post("/accounts/link", form).await.status()
    }

    async fn post(&self, path: &str, form: String) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.base)).body(form);
        let request = request
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        request.send().await.expect("an answer")
    }
}

/// The value of a page's hidden field.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).expect("that field");
    rest.split('"').next().expect("its value").to_owned()
}
