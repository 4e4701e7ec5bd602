//! The MCP server of the demo: a few tools over the files of one folder, on stdio.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    path::{Component, Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

/// The MCP server of the demo.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder whose files it serves.
    #[arg(long)]
    root: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = arguments.root.canonicalize().with_context(|| arguments.root.display().to_string())?;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if let Some(answer) = answer(&root, &message) {
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(root: &Path, message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let result = match message.get("method").and_then(Value::as_str)? {
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "countersign-demo-files", "version": env!("CARGO_PKG_VERSION")},
        }),
        "ping" => json!({}),
        "tools/list" => json!({"tools": tools()}),
        "tools/call" => match call(root, message.get("params").unwrap_or(&Value::Null)) {
            Ok(text) => json!({"content": [{"type": "text", "text": text}]}),
            Err(error) => {
                json!({"content": [{"type": "text", "text": format!("{error:#}")}], "isError": true})
            }
        },
        _ => {
            let error = json!({"code": -32601, "message": "no such method"});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn tools() -> Value {
    let tool = |name: &str, description: &str, needs: &[&str]| {
        let properties: serde_json::Map<String, Value> =
            needs.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        json!({
            "name": name,
            "description": description,
            "inputSchema": {"type": "object", "properties": properties, "required": needs},
        })
    };
    json!([
        tool("list_directory", "Lists the files", &[]),
        tool("read_text_file", "Reads a file", &["path"]),
        tool("write_file", "Writes a file", &["path", "content"]),
        tool("delete_file", "Deletes a file", &["path"]),
    ])
}

fn call(root: &Path, params: &Value) -> Result<String> {
    let argument = |name: &str| {
        let value = params.pointer(&format!("/arguments/{name}")).and_then(Value::as_str);
        value.with_context(|| format!("{name} is missing"))
    };
    match params.get("name").and_then(Value::as_str).context("the tool's name is missing")? {
        "list_directory" => {
            let names =
                fs::read_dir(root)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<String>>>()?;
            names.sort();
            Ok(names.join("\n"))
        }
        "read_text_file" => Ok(fs::read_to_string(inside(root, argument("path")?)?)?),
        "write_file" => {
            let (path, content) = (argument("path")?, argument("content")?);
            fs::write(inside(root, path)?, content)?;
            Ok(format!("wrote {} bytes to {path}", content.len()))
        }
        "delete_file" => {
            let path = argument("path")?;
            fs::remove_file(inside(root, path)?)?;
            Ok(format!("deleted {path}"))
        }
        other => bail!("there is no tool {other:?}"),
    }
}

/// A plain file name in the root: nothing above it, below it or elsewhere.
fn inside(root: &Path, name: &str) -> Result<PathBuf> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Ok(root.join(name)),
        _ => bail!("{name:?} is not the name of a file here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_tool(root: &Path, name: &str, arguments: &Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        answer(root, &message).unwrap()["result"].clone()
    }

    #[test]
    fn files_are_written_read_and_listed_and_nothing_outside() {
        let folder = tempfile::tempdir().unwrap();
        let write = call_tool(folder.path(), "write_file", &json!({"path": "a.txt", "content": "hello"}));
        assert_eq!(write["isError"], Value::Null);
        let read = call_tool(folder.path(), "read_text_file", &json!({"path": "a.txt"}));
        assert_eq!(read["content"][0]["text"], "hello");
        assert_eq!(call_tool(folder.path(), "list_directory", &json!({}))["content"][0]["text"], "a.txt");
        for path in ["../b", "/etc/passwd", "", "a/b"] {
            let write = call_tool(folder.path(), "write_file", &json!({"path": path, "content": "x"}));
            assert_eq!(write["isError"], true, "{path}");
        }
        assert_eq!(answer(folder.path(), &json!({"jsonrpc": "2.0", "method": "notifications/x"})), None);
    }
}
