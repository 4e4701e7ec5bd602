//! Progress towards a decision, for a client that asked for progress.

use super::edit::Members;

/// What a client is told while it waits. It must grow with each message, and the server's own begins at 0 or
/// above, so ours comes ever closer to 0 from below.
#[derive(Debug)]
pub(super) struct Progress {
    /// The client's token, as it was written.
    token: String,
    count: u32,
}

impl Progress {
    /// For a request with these parameters; `None` when it asks for no progress.
    pub(super) fn of(params: Option<&str>) -> Option<Self> {
        let params = Members::parse(params?).ok()?;
        let token = Members::parse(params.get("_meta")?).ok()?.get("progressToken")?.to_owned();
        Some(Self { token, count: 0 })
    }

    /// The next message.
    pub(super) fn next(&mut self) -> String {
        self.count = self.count.saturating_add(1);
        let progress = -1.0 / f64::from(self.count);
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{},\
             \"progress\":{progress},\"message\":\"Waiting for approval\"}}}}",
            self.token
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_grows_and_stays_below_the_servers_own() {
        let mut progress = Progress::of(Some(r#"{"_meta":{"progressToken":1152921504606846977}}"#)).unwrap();
        let mut last = f64::NEG_INFINITY;
        for _ in 0..5 {
            let text = progress.next();
            assert!(text.contains("\"progressToken\":1152921504606846977,"), "{text}");
            let message: serde_json::Value = serde_json::from_str(&text).unwrap();
            let told = message["params"]["progress"].as_f64().unwrap();
            assert!(last < told && told < 0.0);
            last = told;
        }
        assert!(Progress::of(Some(r#"{"_meta":{}}"#)).is_none() && Progress::of(None).is_none());
    }
}
