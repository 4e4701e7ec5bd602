//! Which of a server's tasks were begun through this sidecar, and so by this agent. A task's id is no proof
//! of anything: whoever knows it could ask for its result. Policy sees `context.task.own`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use super::edit::Members;

/// The most tasks of one server that are remembered; the one that was begun longest ago goes first.
const MAX_TASKS: usize = 4_096;

/// The tasks of one server.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<Begun>);

#[derive(Debug, Default)]
struct Begun {
    /// The tool that each is a call of.
    tools: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Tasks {
    /// Notes the task in the result of a call of a tool: in it from 2026-07-28 on, in its `task` before.
    pub(super) fn note(&self, tool: &str, result: &Members<'_>) {
        let nested = result.get("task").and_then(|task| Members::parse(task).ok());
        let id = result.string("taskId").or_else(|| nested?.string("taskId"));
        let Some(id) = id else { return };
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.tools.insert(id.clone(), tool.to_owned()).is_none() {
            begun.order.push_back(id);
        }
        if begun.order.len() > MAX_TASKS
            && let Some(oldest) = begun.order.pop_front()
        {
            begun.tools.remove(&oldest);
        }
    }

    /// Whether a task was begun through this sidecar since it was started.
    pub(super) fn is_own(&self, id: &str) -> bool {
        self.tool(id).is_some()
    }

    /// The tool that a task is a call of.
    pub(super) fn tool(&self, id: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tools.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_known_by_what_began_them_and_are_bounded() {
        let tasks = Tasks::default();
        let note = |result: &str| tasks.note("deploy", &Members::parse(result).unwrap());
        note(r#"{"resultType":"task","taskId":"new"}"#);
        note(r#"{"task":{"taskId":"old"}}"#);
        note(r#"{"content":[]}"#);
        assert!(tasks.is_own("new") && tasks.is_own("old") && !tasks.is_own("other"));
        assert_eq!(tasks.tool("new").as_deref(), Some("deploy"));
        for number in 0..MAX_TASKS {
            note(&format!("{{\"taskId\":\"{number}\"}}"));
        }
        assert!(!tasks.is_own("new") && tasks.is_own("0"));
    }
}
