//! The values in a mapping: literals, and CEL expressions that start with `$` (COAZ; `$$` is a literal `$`).
//!
//! Expressions are bounded so that no message can make one run long: their text and nesting, loops
//! (one level of `all`, `exists` or `exists_one`, never `map` or `filter`), how often they put texts
//! together (never in a loop), and the size of what they are given. So the work is bounded by construction,
//! and needs no clock. The library is the standard one without regular expressions.

use std::sync::{Arc, LazyLock};

use cel::{
    Context, Env, Program, Value,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators},
    objects::OptionalValue,
};
use countersign_model::Object;
use serde_json::Value as Json;

use super::MappingError;

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 1_000;
/// The deepest nesting of an expression.
const MAX_DEPTH: u16 = 24;
/// The most that an expression is given, in bytes of JSON.
const MAX_INPUT: usize = 256 * 1024;
/// The most that an expression with a loop is given.
const MAX_LOOP_INPUT: usize = 4 * 1024;
/// The most additions in an expression. Each may copy what is added, and texts can be added.
const MAX_ADDITIONS: usize = 16;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A value in a mapping, compiled.
#[derive(Debug)]
pub(crate) enum Template {
    /// Itself, always.
    Literal(Json),
    /// Worked out from the message.
    Expression(Expression),
    /// Members, each a template.
    Object(Vec<(String, Template)>),
    /// Items, each a template.
    Array(Vec<Template>),
}

impl Template {
    /// Compiles a value of a mapping that may refer to some variables.
    pub(crate) fn compile(value: Json, variables: &[&str]) -> Result<Self, String> {
        match value {
            Json::String(text) => match text.strip_prefix('$') {
                Some(rest) if rest.starts_with('$') => Ok(Self::Literal(Json::from(rest))),
                Some(source) => Expression::compile(source, variables).map(Self::Expression),
                None => Ok(Self::Literal(Json::String(text))),
            },
            Json::Object(members) => {
                let compile = |(name, value)| Ok((name, Self::compile(value, variables)?));
                members.into_iter().map(compile).collect::<Result<_, String>>().map(Self::Object)
            }
            Json::Array(items) => {
                let compile = |item| Self::compile(item, variables);
                items.into_iter().map(compile).collect::<Result<_, String>>().map(Self::Array)
            }
            literal => Ok(Self::Literal(literal)),
        }
    }

    /// Whether a variable is used anywhere in it.
    pub(crate) fn uses(&self, variable: &str) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Expression(expression) => expression.variables.iter().any(|used| used == variable),
            Self::Object(members) => members.iter().any(|(_, member)| member.uses(variable)),
            Self::Array(items) => items.iter().any(|item| item.uses(variable)),
        }
    }

    /// The value for some variables; `None` when it is an optional value that is not there.
    pub(crate) fn evaluate(&self, variables: &Object) -> Result<Option<Json>, MappingError> {
        match self {
            Self::Literal(value) => Ok(Some(value.clone())),
            Self::Expression(expression) => expression.evaluate(variables),
            Self::Object(members) => {
                let mut object = Object::new();
                for (name, member) in members {
                    if let Some(value) = member.evaluate(variables)? {
                        object.insert(name.clone(), value);
                    }
                }
                Ok(Some(Json::Object(object)))
            }
            Self::Array(items) => {
                let mut array = Vec::with_capacity(items.len());
                for item in items {
                    array.extend(item.evaluate(variables)?);
                }
                Ok(Some(Json::Array(array)))
            }
        }
    }
}

/// One compiled CEL expression.
#[derive(Debug)]
pub(crate) struct Expression {
    source: String,
    program: Program,
    variables: Vec<String>,
    loops: bool,
}

impl Expression {
    fn compile(source: &str, known: &[&str]) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("an expression can have at most {MAX_SOURCE} characters"));
        }
        let parsed = ENV.parser().max_recursion_depth(MAX_DEPTH).parse(source);
        parsed.map_err(|errors| no_expression(&errors))?;
        let program = ENV.compile(source).map_err(|errors| no_expression(&errors))?;
        let loops = loops(program.expression())?;
        let additions = additions(program.expression());
        if additions > MAX_ADDITIONS || (loops && additions > 0) {
            return Err(format!("an expression can add {MAX_ADDITIONS} times, and not where it loops"));
        }
        let variables: Vec<String> =
            program.references().variables().into_iter().map(ToOwned::to_owned).collect();
        // Loop variables and CEL's own names show up as references, too; they are found at evaluation.
        let unknown =
            variables.iter().find(|name| !loops && !known.contains(&name.as_str()) && *name != "optional");
        if let Some(unknown) = unknown {
            return Err(format!("{unknown} is not known here; known are {}", known.join(", ")));
        }
        Ok(Self { source: source.to_owned(), program, variables, loops })
    }

    fn evaluate(&self, variables: &Object) -> Result<Option<Json>, MappingError> {
        let fault = |reason: String| MappingError::Expression { expression: self.source.clone(), reason };
        let mut context = Context::with_env(Arc::clone(&ENV));
        let mut size = 0_usize;
        for name in &self.variables {
            let Some(value) = variables.get(name) else { continue };
            size = size.saturating_add(size_of(value));
            if size > if self.loops { MAX_LOOP_INPUT } else { MAX_INPUT } {
                return Err(fault("the message is too large for this expression".to_owned()));
            }
            context.add_variable_from_value(name.as_str(), to_cel(value));
        }
        let value = self.program.execute(&context).map_err(|error| fault(error.to_string()))?;
        from_cel(&value).map_err(fault)
    }
}

/// The first of an expression's errors, without the drawing that CEL makes of it.
fn no_expression(errors: &cel::ParseErrors) -> String {
    let text = errors.to_string();
    let first = text.lines().next().unwrap_or_default();
    format!("not a CEL expression: {}", first.trim_start_matches("ERROR: <input>:"))
}

/// About how many bytes a value takes up as JSON.
pub(crate) fn size_of(value: &Json) -> usize {
    let sum = |sizes: &mut dyn Iterator<Item = usize>| sizes.fold(2_usize, usize::saturating_add);
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => text.len().saturating_add(2),
        Json::Array(items) => sum(&mut items.iter().map(size_of)),
        Json::Object(members) => {
            sum(&mut members.iter().map(|(name, member)| name.len().saturating_add(size_of(member))))
        }
    }
}

fn to_cel(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Int(integer),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Json::Object(members) => {
            let members: std::collections::HashMap<String, Value> =
                members.iter().map(|(name, member)| (name.clone(), to_cel(member))).collect();
            Value::from(members)
        }
    }
}

fn from_cel(value: &Value) -> Result<Option<Json>, String> {
    if let Value::Opaque(opaque) = value {
        return match opaque.downcast_ref::<OptionalValue>().map(OptionalValue::value) {
            Some(Some(inner)) => from_cel(inner),
            Some(None) => Ok(None),
            None => Err("the result is no JSON value".to_owned()),
        };
    }
    match value.json() {
        Ok(Json::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err("the result is no JSON value".to_owned()),
    }
}

/// Whether an expression has a loop. Refuses a loop in a loop, and loops that build lists.
fn loops(expression: &IdedExpr) -> Result<bool, String> {
    let below = parts(expression).into_iter().map(loops).collect::<Result<Vec<bool>, String>>()?;
    match &expression.expr {
        Expr::Struct(_) => Err("an expression cannot build a message".to_owned()),
        Expr::Comprehension(comprehension) if matches!(comprehension.accu_init.expr, Expr::List(_)) => {
            Err("map and filter are not available; use all, exists or exists_one".to_owned())
        }
        Expr::Comprehension(_) if below.contains(&true) => {
            Err("a loop within a loop is not available".to_owned())
        }
        Expr::Comprehension(_) => Ok(true),
        _ => Ok(below.contains(&true)),
    }
}

/// How many additions an expression has. Counting (`exists_one` adds 1) copies nothing.
fn additions(expression: &IdedExpr) -> usize {
    let own = match &expression.expr {
        Expr::Call(call) => {
            let number = |part: &IdedExpr| matches!(part.expr, Expr::Literal(LiteralValue::Int(_)));
            call.func_name == operators::ADD && !call.args.iter().any(number)
        }
        _ => false,
    };
    parts(expression).into_iter().map(additions).fold(usize::from(own), usize::saturating_add)
}

/// The parts that an expression is put together from.
fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(message) => message.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Comprehension(comprehension) => vec![
            &comprehension.iter_range,
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ],
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(value: Json, variables: Json) -> Result<Option<Json>, String> {
        let Json::Object(variables) = variables else { panic!("an object") };
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        let template = Template::compile(value, &names)?;
        template.evaluate(&variables).map_err(|error| error.to_string())
    }

    #[test]
    fn a_dollar_makes_an_expression_and_two_make_a_dollar() {
        let variables = json!({"options": {"bucket": "b", "n": 2}, "words": ["s3api", "x"]});
        let value = json!({
            "literal": "plain", "price": "$$5", "bucket": "$options.bucket", "twice": "$options.n * 2",
            "missing": "$options.?region", "fallback": "$options.?region.orValue('none')",
            "list": ["$words[0]", 1], "any": "$words.exists(w, w == 'x')"
        });
        let expected = json!({
            "literal": "plain", "price": "$5", "bucket": "b", "twice": 4, "fallback": "none",
            "list": ["s3api", 1], "any": true
        });
        assert_eq!(evaluate(value, variables), Ok(Some(expected)));
    }

    #[test]
    fn what_cannot_be_worked_out_is_an_error() {
        for source in ["$options.missing", "$words[7]", "$1 / 0", "$options.bucket + 1"] {
            let result = evaluate(json!(source), json!({"options": {"bucket": "b"}, "words": []}));
            assert!(result.is_err(), "{source}: {result:?}");
        }
    }

    /// An agent chooses the message; no message may keep the sidecar busy.
    #[test]
    fn expressions_are_bounded() {
        for source in [
            "$words.map(w, w + w)".to_owned(),
            "$words.filter(w, true)".to_owned(),
            "$words.exists(w, words.exists(v, v == w))".to_owned(),
            "$words.exists(w, w + w == 'aa')".to_owned(),
            format!("$words[0]{}", "+words[0]".repeat(MAX_ADDITIONS + 1)),
            format!("${}1{}", "(".repeat(40), ")".repeat(40)),
            format!("$words[0] == '{}'", "x".repeat(MAX_SOURCE)),
            "$words[".to_owned(),
            "$undeclared.x".to_owned(),
        ] {
            assert!(evaluate(json!(source), json!({"words": ["a"]})).is_err(), "{source}");
        }
        assert_eq!(
            evaluate(json!("$words.exists_one(w, w == 'a')"), json!({"words": ["a"]})),
            Ok(Some(json!(true)))
        );
        let large = json!({"words": ["x".repeat(MAX_LOOP_INPUT)]});
        assert!(evaluate(json!("$words.exists(w, w == 'a')"), large.clone()).is_err());
        assert!(evaluate(json!("$words[0] == 'a'"), large).is_ok());
        assert!(evaluate(json!("$words[0]"), json!({"words": ["x".repeat(MAX_INPUT)]})).is_err());
    }
}
