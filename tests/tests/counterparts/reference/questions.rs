//! What the server asks inside its answers (2026-07-28, multi round-trip requests).

use std::sync::LazyLock;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, GetPromptRequestParams, GetPromptResponse,
        InputRequiredResult, RequestStateCodec,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};

use super::{tables, text, typed};

/// The prompt that asks for something.
pub(super) const PROMPT: &str = "test_input_required_result_prompt";
const PREFIX: &str = "test_input_required_result_";

static SEAL: LazyLock<RequestStateCodec> =
    LazyLock::new(|| RequestStateCodec::new_unchecked(b"a key of the reference server, for tests alone"));

fn elicitation(message: &str, member: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {member: {"type": kind}}, "required": [member]});
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

pub(super) fn sampling_params(prompt: &str) -> Value {
    json!({"messages": [{"role": "user", "content": {"type": "text", "text": prompt}}], "maxTokens": 100})
}

fn sampling(prompt: &str) -> Value {
    json!({"method": "sampling/createMessage", "params": sampling_params(prompt)})
}

fn roots() -> Value {
    json!({"method": "roots/list"})
}

fn asks(questions: &Value, state: Option<&Value>) -> Result<InputRequiredResult, ErrorData> {
    let mut result = json!({"resultType": "input_required", "inputRequests": questions});
    if let Some(state) = state {
        let sealed =
            SEAL.seal_json(state).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        result["requestState"] = json!(sealed);
    }
    typed(result)
}

fn opened(state: Option<&str>) -> Result<Option<Value>, ErrorData> {
    let forged = |_| ErrorData::invalid_params("requestState failed verification", None);
    state.map(|state| SEAL.open_json(state).map_err(forged)).transpose()
}

/// The answer of a tool that asks; `None` when it is not one.
pub(super) fn answer(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CallToolResponse>, ErrorData> {
    let result = |said: &str| {
        typed::<rmcp::model::CallToolResult>(tables::complete(text(said))).map(|result| Some(result.into()))
    };
    let question = |questions: Value, state: Option<Value>| {
        asks(&questions, state.as_ref()).map(|asked| Some(asked.into()))
    };
    let responses = json!(request.input_responses);
    let given = |name: &str| responses.get(name).filter(|response| response.is_object());
    let tool = match &*request.name {
        "test_streaming_elicitation" => {
            return question(json!({"value": elicitation("Provide a value", "value", "string")}), None);
        }
        name => match name.strip_prefix(PREFIX) {
            Some(tool) => tool,
            None => return Ok(None),
        },
    };
    let state = opened(request.request_state.as_deref())?;
    let name = elicitation("What is your name?", "name", "string");
    match (tool, state) {
        ("elicitation", _) => match given("user_name") {
            Some(response) => {
                result(&format!("Hello, {}!", response["content"]["name"].as_str().unwrap_or("you")))
            }
            None => question(json!({"user_name": name}), None),
        },
        ("sampling", _) => match given("capital_question") {
            Some(response) => result(&format!("Sampled: {}", response["content"]["text"])),
            None => question(json!({"capital_question": sampling("What is the capital of France?")}), None),
        },
        ("list_roots", _) => match given("client_roots") {
            Some(response) => result(&format!("Roots: {}", response["roots"])),
            None => question(json!({"client_roots": roots()}), None),
        },
        ("request_state" | "tampered_state", None) => question(
            json!({"confirm": elicitation("Please confirm", "ok", "boolean")}),
            Some(json!({"stage": 1})),
        ),
        ("request_state" | "tampered_state", Some(_)) => result("state-ok"),
        ("multiple_inputs", state) => {
            let all = ["user_name", "greeting", "client_roots"].iter().all(|name| given(name).is_some());
            if all && state.is_some() {
                return result("All inputs received");
            }
            let questions =
                json!({"user_name": name, "greeting": sampling("Greet"), "client_roots": roots()});
            question(questions, Some(json!({"stage": 1})))
        }
        ("multi_round", state) => match state.as_ref().map(|state| &state["round"]).and_then(Value::as_u64) {
            None => question(json!({"step1": name}), Some(json!({"round": 1}))),
            Some(1) => question(
                json!({"step2": elicitation("Which colour?", "color", "string")}),
                Some(json!({"round": 2})),
            ),
            Some(_) => result("Multi-round flow complete"),
        },
        ("capabilities", _) if request.input_responses.is_some() => result("done"),
        ("capabilities", _) => {
            let declared = context.meta.client_capabilities().unwrap_or_default();
            let possible = [
                ("user_name", declared.elicitation.is_some(), name),
                ("greeting", declared.sampling.is_some(), sampling("Greet")),
                ("client_roots", declared.roots.is_some(), roots()),
            ];
            let questions: Map<String, Value> = possible
                .into_iter()
                .filter(|(_, can, _)| *can)
                .map(|(key, _, ask)| (key.to_owned(), ask))
                .collect();
            if questions.is_empty() { result("nothing to ask") } else { question(questions.into(), None) }
        }
        (_, _) => Ok(None),
    }
}

pub(super) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let responses = json!(request.input_responses);
    match responses.get("user_context").filter(|response| response.is_object()) {
        Some(response) => {
            let said = format!("With {}", response["content"]["context"]);
            let message = json!({"role": "user", "content": {"type": "text", "text": said}});
            typed::<rmcp::model::GetPromptResult>(tables::complete(json!({"messages": [message]})))
                .map(Into::into)
        }
        None => asks(&json!({"user_context": elicitation("What context?", "context", "string")}), None)
            .map(Into::into),
    }
}
