//! `--mcp NAME=URL` and `--mcp NAME=COMMAND`: MCP servers that agents reach through the sidecar over HTTP.

use std::str::FromStr;

/// A server, by its name and where it is.
#[derive(Debug, Clone)]
pub(crate) struct McpServer {
    pub(crate) name: String,
    place: String,
}

impl FromStr for McpServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, place)) if !name.is_empty() && !place.trim().is_empty() => {
                Ok(Self { name: name.to_owned(), place: place.trim().to_owned() })
            }
            _ => Err("write NAME=URL, or NAME=COMMAND"),
        }
    }
}

impl McpServer {
    /// What the sidecar's configuration would say. The words of a command are separated by spaces.
    pub(crate) fn settings(&self, number: usize) -> Vec<(String, String)> {
        let key = |name: &str| format!("mcp.servers.{number}.{name}");
        let mut settings = vec![(key("name"), self.name.clone())];
        if self.place.starts_with("http://") || self.place.starts_with("https://") {
            settings.push((key("url"), self.place.clone()));
        } else {
            let words = self.place.split_whitespace().enumerate();
            settings.extend(words.map(|(word, text)| (key(&format!("command.{word}")), text.to_owned())));
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_the_words_of_a_command() {
        let settings = |text: &str| -> Vec<String> {
            let server: McpServer = text.parse().unwrap();
            server.settings(1).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
        };
        assert_eq!(
            settings("crm=https://crm.example/mcp?a=b"),
            ["mcp.servers.1.name=crm", "mcp.servers.1.url=https://crm.example/mcp?a=b"]
        );
        assert_eq!(
            settings("files=npx  -y server"),
            [
                "mcp.servers.1.name=files",
                "mcp.servers.1.command.0=npx",
                "mcp.servers.1.command.1=-y",
                "mcp.servers.1.command.2=server"
            ]
        );
        for wrong in ["files", "=npx", "files= "] {
            assert!(wrong.parse::<McpServer>().is_err(), "{wrong}");
        }
    }
}
