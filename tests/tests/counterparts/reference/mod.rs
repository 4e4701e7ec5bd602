//! An MCP server on the official Rust SDK, with everything that the official conformance suite calls.
//!
//! What it says is written as the JSON of the protocol, so that it reads like the scenarios do.

#![allow(deprecated, reason = "the revisions before the newest have what that one gives up")]

mod questions;
mod tables;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, CompleteRequestParams, CompleteResult,
        GetPromptRequestParams, GetPromptResponse, Implementation, InitializeRequestParams, InitializeResult,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
        ServerInfo, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
        UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext, SubscriptionSink},
    transport::{
        StreamableHttpServerConfig, StreamableHttpService,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

type Context = RequestContext<RoleServer>;

/// How long one step of a tool that shows its steps takes.
const STEP: Duration = Duration::from_millis(50);

/// A reference server that listens.
pub(crate) struct Reference {
    pub(crate) address: SocketAddr,
    calls: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Reference {
    pub(crate) async fn start() -> Self {
        let handler = Handler::default();
        let calls = Arc::clone(&handler.calls);
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = axum::Router::new().nest_service("/mcp", service);
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { address, calls, server }
    }

    /// How many tools it was asked to run.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Default)]
struct Handler {
    calls: Arc<AtomicUsize>,
    subscribed: Arc<Mutex<HashSet<String>>>,
    listening: Arc<Mutex<HashMap<u64, SubscriptionSink>>>,
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

impl Handler {
    /// A tool that talks while it works, or that asks for something.
    async fn perform(&self, request: CallToolRequestParams, context: &Context) -> Result<Value, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        match &*request.name {
            "test_tool_with_logging" => {
                for step in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    log(context, step).await;
                    tokio::time::sleep(STEP).await;
                }
                Ok(text("done"))
            }
            "test_logging_tool" => {
                if context.meta.log_level().is_some() {
                    log(context, "as asked for").await;
                }
                Ok(text("done"))
            }
            "test_tool_with_progress" => {
                for step in [0, 50, 100] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let told = json!({"progressToken": token, "progress": step, "total": 100, "message": "step"});
                        let _ = context.peer.notify_progress(typed(told)?).await;
                    }
                    tokio::time::sleep(STEP).await;
                }
                Ok(text("done"))
            }
            "test_reconnection" => {
                tokio::time::sleep(STEP * 2).await;
                Ok(text("done"))
            }
            "test_custom_header" => match arguments["value"].as_str() {
                Some(value) => Ok(text(value)),
                None => Err(ErrorData::invalid_params("value must be a string", None)),
            },
            "json_schema_2020_12_tool" => Ok(text(arguments["name"].as_str().unwrap_or("nobody"))),
            "test_trigger_tool_change" | "test_trigger_prompt_change" => {
                let sinks: Vec<_> = self.listening.lock().unwrap().values().cloned().collect();
                for sink in sinks {
                    let _ = match &*request.name {
                        "test_trigger_tool_change" => sink.notify_tool_list_changed().await,
                        _ => sink.notify_prompt_list_changed().await,
                    };
                }
                Ok(text("done"))
            }
            "test_missing_capability" => {
                let declared = context.meta.client_capabilities().unwrap_or_default();
                if declared.sampling.is_none() {
                    let needed = ClientCapabilities::builder().enable_sampling().build();
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
                Ok(text("done"))
            }
            "test_sampling" => {
                let prompt = arguments["prompt"].as_str().unwrap_or("Hello");
                let asked = context.peer.create_message(typed(questions::sampling_params(prompt))?).await;
                match asked {
                    Ok(result) => Ok(text(&format!("LLM response: {}", json!(result)["content"]["text"]))),
                    Err(error) => Err(ErrorData::internal_error(error.to_string(), None)),
                }
            }
            name => match tables::elicitation(name, &arguments) {
                Some(params) => match context.peer.create_elicitation(typed(params)?).await {
                    Ok(result) => {
                        let answer = json!(result);
                        Ok(text(&format!(
                            "User response: action={}, content={}",
                            answer["action"].as_str().unwrap_or(""),
                            answer["content"]
                        )))
                    }
                    Err(error) => Err(ErrorData::internal_error(error.to_string(), None)),
                },
                None => Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None)),
            },
        }
    }
}

async fn log(context: &Context, message: &str) {
    let params = json!({"level": "info", "logger": "reference", "data": message});
    if let Ok(params) = typed(params) {
        let _ = context.peer.notify_logging_message(params).await;
    }
}

impl ServerHandler for Handler {
    fn get_tool(&self, name: &str) -> Option<Tool> {
        let tools = tables::tools();
        tools["tools"]
            .as_array()?
            .iter()
            .find(|tool| tool["name"] == name)
            .and_then(|tool| typed(tool.clone()).ok())
    }

    fn get_info(&self) -> ServerInfo {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_logging()
            .enable_completions()
            .build();
        let info = ServerInfo::new(capabilities).with_server_info(Implementation::new("reference", "1.0.0"));
        info.with_instructions("A reference for tests.")
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        _: Context,
    ) -> Result<InitializeResult, ErrorData> {
        let info = self.get_info();
        let result = InitializeResult::new(info.capabilities).with_protocol_version(request.protocol_version);
        Ok(result.with_server_info(info.server_info))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut key = 0;
        {
            let mut listening = self.listening.lock().unwrap();
            while listening.contains_key(&key) {
                key += 1;
            }
            listening.insert(key, context.sink().clone());
        }
        context.cancelled().await;
        self.listening.lock().unwrap().remove(&key);
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        typed(tables::cached(tables::tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = questions::answer(&request, &context)? {
            return Ok(answer);
        }
        let result = match tables::result(&request.name) {
            Some(result) => result,
            None => self.perform(request, &context).await?,
        };
        typed::<rmcp::model::CallToolResult>(tables::complete(result)).map(Into::into)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        typed(tables::cached(tables::resources()))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        typed(tables::cached(tables::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match tables::resource(&request.uri) {
            Some(result) => typed::<rmcp::model::ReadResourceResult>(tables::cached(result)).map(Into::into),
            None => {
                Err(ErrorData::resource_not_found("Resource not found", Some(json!({"uri": request.uri}))))
            }
        }
    }

    async fn subscribe(&self, request: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.subscribed.lock().unwrap().insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(&self, request: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        self.subscribed.lock().unwrap().remove(request.uri.as_str());
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        typed(tables::cached(tables::prompts()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name == questions::PROMPT {
            return questions::prompt(&request);
        }
        let arguments = json!(request.arguments);
        match tables::prompt(&request.name, &arguments) {
            Some(result) => typed::<rmcp::model::GetPromptResult>(tables::complete(result)).map(Into::into),
            None => Err(ErrorData::invalid_params(format!("Unknown prompt: {}", request.name), None)),
        }
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        typed(tables::complete(
            json!({"completion": {"values": ["one", "two"], "total": 2, "hasMore": false}}),
        ))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}
