//! What the reference server has: tools, resources and prompts, as the suite's scenarios name them.

use serde_json::{Value, json};

/// One red pixel.
const IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A sound without a sample.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

/// With what every result has from 2026-07-28 on; the SDK takes it out for older clients.
pub(super) fn complete(mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    result
}

/// With how long clients may keep it, too.
pub(super) fn cached(result: Value) -> Value {
    let mut result = complete(result);
    result["ttlMs"] = json!(60_000);
    result["cacheScope"] = json!("public");
    result
}

fn tool(name: &str, properties: &Value) -> Value {
    json!({"name": name, "description": name, "inputSchema": {"type": "object", "properties": properties}})
}

pub(super) fn tools() -> Value {
    let plain = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_logging",
        "test_logging_tool",
        "test_error_handling",
        "test_tool_with_progress",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_reconnection",
        "test_trigger_tool_change",
        "test_trigger_prompt_change",
        "test_missing_capability",
        "test_streaming_elicitation",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
        "test_input_required_result_request_state",
        "test_input_required_result_tampered_state",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_capabilities",
    ];
    let mut tools: Vec<Value> = plain.iter().map(|name| tool(name, &json!({}))).collect();
    tools.push(tool("test_custom_header", &json!({"value": {"type": "string", "x-mcp-header": "Value"}})));
    tools.push(tool("test_sampling", &json!({"prompt": {"type": "string"}})));
    tools.push(tool("test_elicitation", &json!({"message": {"type": "string"}})));
    let street =
        json!({"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}});
    let mut address = street;
    address["$anchor"] = json!("address");
    tools.push(json!({
        "name": "json_schema_2020_12_tool",
        "description": "A schema with what JSON Schema 2020-12 has",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": address},
            "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
            "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["address"]}]}],
            "if": {"required": ["address"]},
            "then": {"properties": {"address": {"required": ["street"]}}},
            "else": {"required": ["name"]},
            "additionalProperties": false
        }
    }));
    json!({"tools": tools})
}

/// What a tool says that does nothing else.
pub(super) fn result(tool: &str) -> Option<Value> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = json!({"type": "image", "data": IMAGE, "mimeType": "image/png"});
    let resource = |uri: &str, kind: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}});
    let content = match tool {
        "test_simple_text" => json!([text("This is a simple text response for testing.")]),
        "test_image_content" => json!([image]),
        "test_audio_content" => json!([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => {
            json!([resource(
                "test://embedded-resource",
                "text/plain",
                "This is an embedded resource content."
            )])
        }
        "test_multiple_content_types" => json!([
            text("Multiple content types test:"),
            image,
            resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#)
        ]),
        "test_error_handling" => {
            let said = text("This tool intentionally returns an error for testing");
            return Some(json!({"content": [said], "isError": true}));
        }
        _ => return None,
    };
    Some(json!({"content": content}))
}

/// What a tool asks the user for.
pub(super) fn elicitation(tool: &str, arguments: &Value) -> Option<Value> {
    let titled = |values: [&str; 3]| -> Value {
        values.iter().map(|value| json!({"const": value, "title": format!("The {value}")})).collect()
    };
    let (message, properties) = match tool {
        "test_elicitation" => (
            arguments["message"].as_str().unwrap_or("Who are you?"),
            json!({"username": {"type": "string"}, "email": {"type": "string"}}),
        ),
        "test_elicitation_sep1034_defaults" => (
            "All have defaults",
            json!({
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                "verified": {"type": "boolean", "default": true}
            }),
        ),
        "test_elicitation_sep1330_enums" => (
            "Choose",
            json!({
                "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
                "titledSingle": {"type": "string", "oneOf": titled(["value1", "value2", "value3"])},
                "legacyEnum": {
                    "type": "string", "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"]
                },
                "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
                "titledMulti": {"type": "array", "items": {"anyOf": titled(["value1", "value2", "value3"])}}
            }),
        ),
        _ => return None,
    };
    let required = if tool == "test_elicitation" { json!(["username", "email"]) } else { json!([]) };
    let schema = json!({"type": "object", "properties": properties, "required": required});
    Some(json!({"mode": "form", "message": message, "requestedSchema": schema}))
}

pub(super) fn resources() -> Value {
    json!({"resources": [
        {"uri": "test://static-text", "name": "text", "description": "Text", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "binary", "description": "An image", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched", "description": "Watched", "mimeType": "text/plain"}
    ]})
}

pub(super) fn templates() -> Value {
    json!({"resourceTemplates": [
        {"uriTemplate": "test://template/{id}/data", "name": "template", "description": "By id", "mimeType": "application/json"}
    ]})
}

pub(super) fn resource(uri: &str) -> Option<Value> {
    let contents = match uri {
        "test://static-text" => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": IMAGE}),
        "test://watched-resource" => json!({"uri": uri, "mimeType": "text/plain", "text": "watched"}),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let text =
                json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}).to_string();
            json!({"uri": uri, "mimeType": "application/json", "text": text})
        }
    };
    Some(json!({"contents": [contents]}))
}

pub(super) fn prompts() -> Value {
    let argument = |name: &str| json!({"name": name, "description": name, "required": true});
    json!({"prompts": [
        {"name": "test_simple_prompt", "description": "Simple"},
        {"name": "test_prompt_with_arguments", "description": "With arguments", "arguments": [argument("arg1"), argument("arg2")]},
        {"name": "test_prompt_with_embedded_resource", "description": "With a resource", "arguments": [argument("resourceUri")]},
        {"name": "test_prompt_with_image", "description": "With an image"},
        {"name": super::questions::PROMPT, "description": "Asks for something"}
    ]})
}

pub(super) fn prompt(name: &str, arguments: &Value) -> Option<Value> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let text = |text: String| user(json!({"type": "text", "text": text}));
    let argument = |name: &str| arguments[name].as_str().unwrap_or("").to_owned();
    let messages = match name {
        "test_simple_prompt" => json!([text("This is a simple prompt for testing.".to_owned())]),
        "test_prompt_with_arguments" => json!([text(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))]),
        "test_prompt_with_embedded_resource" => {
            let resource = json!({"uri": argument("resourceUri"), "mimeType": "text/plain", "text": "Embedded resource content for testing."});
            json!([
                user(json!({"type": "resource", "resource": resource})),
                text("Please process it.".to_owned())
            ])
        }
        "test_prompt_with_image" => {
            json!([
                user(json!({"type": "image", "data": IMAGE, "mimeType": "image/png"})),
                text("Please look at it.".to_owned())
            ])
        }
        _ => return None,
    };
    Some(json!({"messages": messages}))
}
