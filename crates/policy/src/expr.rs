//! Reading Cedar's expressions: what a condition does with approvals, and which entities it can look into.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, UnaryOp, Var};

/// The context member that holds the requirements met so far.
pub(crate) const APPROVALS: &str = "approvals";

/// Why an `@approval` forbid is not lifted by its own approval alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LiftFault {
    /// It does something with `context` or `context.approvals` other than asking for its own approval.
    OtherUse,
    /// It can still forbid when its approval is there.
    NotLifted,
    /// It forbids nothing while its approval is missing.
    NeverForbids,
}

/// Checks that a forbid's condition is lifted by `context.approvals.contains(name)`, and by no other approval.
///
/// The check is syntactic and sound, not complete: all that the condition may do with approvals is
/// to ask for its own, and with that answered "yes" the condition must come out false whatever its
/// other parts say. Then the other parts cannot depend on approvals at all, so nothing but its own
/// approval ever changes its answer. A condition that is lifted in a cleverer way is refused, and
/// can always be written with a plain `unless`.
pub(crate) fn check_lift(condition: &Expr, name: &str) -> Result<(), LiftFault> {
    if !only_asks_for(condition, name) {
        return Err(LiftFault::OtherUse);
    }
    match (truth(condition, name, true), truth(condition, name, false)) {
        (_, Some(false)) => Err(LiftFault::NeverForbids),
        (Some(false), _) => Ok(()),
        (_, _) => Err(LiftFault::NotLifted),
    }
}

/// Whether an expression is exactly `context.approvals.contains("name")`.
fn asks_for(expr: &Expr, name: &str) -> bool {
    let ExprKind::BinaryApp { op: BinaryOp::Contains, arg1, arg2 } = expr.expr_kind() else { return false };
    let is_approvals = matches!(
        arg1.expr_kind(),
        ExprKind::GetAttr { expr, attr } if is_context(expr) && attr == APPROVALS
    );
    is_approvals && matches!(arg2.expr_kind(), ExprKind::Lit(Literal::String(text)) if text == name)
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
}

fn only_asks_for(expr: &Expr, name: &str) -> bool {
    if asks_for(expr, name) {
        return true;
    }
    match expr.expr_kind() {
        // The whole context has the approvals in it.
        ExprKind::Var(Var::Context) => false,
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } if is_context(expr) => {
            attr != APPROVALS
        }
        ExprKind::ExtHasAttr { expr, attrs } if is_context(expr) => attrs.first() != APPROVALS,
        _ => children(expr).into_iter().all(|child| only_asks_for(child, name)),
    }
}

/// What a condition comes to when its own approval is there or missing and everything else is unknown.
fn truth(expr: &Expr, name: &str, approved: bool) -> Option<bool> {
    if asks_for(expr, name) {
        return Some(approved);
    }
    match expr.expr_kind() {
        ExprKind::Lit(Literal::Bool(flag)) => Some(*flag),
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => truth(arg, name, approved).map(|flag| !flag),
        ExprKind::And { left, right } => match (truth(left, name, approved), truth(right, name, approved)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            (_, _) => None,
        },
        ExprKind::Or { left, right } => match (truth(left, name, approved), truth(right, name, approved)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (_, _) => None,
        },
        ExprKind::If { test_expr, then_expr, else_expr } => {
            let (yes, no) = (truth(then_expr, name, approved), truth(else_expr, name, approved));
            match truth(test_expr, name, approved) {
                Some(true) => yes,
                Some(false) => no,
                None => yes.filter(|_| yes == no),
            }
        }
        _ => None,
    }
}

/// Whether a condition can depend on a member of the context.
pub(crate) fn depends_on(expr: &Expr, member: &str) -> bool {
    match expr.expr_kind() {
        ExprKind::Var(Var::Context) => true,
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } if is_context(expr) => {
            attr == member
        }
        ExprKind::ExtHasAttr { expr, attrs } if is_context(expr) => attrs.first() == member,
        _ => children(expr).into_iter().any(|child| depends_on(child, member)),
    }
}

/// Which entities evaluation can look into, starting from those that a request names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The attribute names that are read anywhere.
    pub(crate) attributes: BTreeSet<String>,
    /// Whether tags are read.
    pub(crate) tags: bool,
    /// Whether a condition takes the context as a whole, so that all of it matters.
    pub(crate) whole_context: bool,
    /// How many entities can be looked into one after the other (`resource.owner.team` is two).
    pub(crate) depth: usize,
}

impl Reach {
    /// Whether a condition can read a member or attribute of that name. What none reads need not be
    /// handed to Cedar: no condition can tell.
    pub(crate) fn reads(&self, attribute: &str) -> bool {
        self.attributes.contains(attribute)
    }

    /// Whether a condition can read a member of the context.
    pub(crate) fn reads_context(&self, member: &str) -> bool {
        self.whole_context || self.reads(member)
    }

    /// Adds what a condition can look into. Returns the entities that it names and looks into.
    pub(crate) fn add(&mut self, condition: &Expr) -> BTreeSet<EntityUID> {
        let mut named = BTreeSet::new();
        let depth = self.walk(condition, false, &mut named);
        self.depth = self.depth.max(depth);
        named
    }

    /// `inspected`: whether the value of this expression is looked into.
    fn walk(&mut self, expr: &Expr, inspected: bool, named: &mut BTreeSet<EntityUID>) -> usize {
        match expr.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(uid)) => {
                if inspected {
                    named.insert(uid.as_ref().clone());
                }
                0
            }
            ExprKind::Var(Var::Context) => {
                self.whole_context = true;
                0
            }
            ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => {
                self.attributes.insert(attr.to_string());
                // One member of the context is not all of it; and the context is no entity.
                if is_context(expr) { 0 } else { self.walk(expr, true, named).saturating_add(1) }
            }
            ExprKind::ExtHasAttr { expr, attrs } => {
                self.attributes.extend(attrs.iter().map(ToString::to_string));
                let below = if is_context(expr) { 0 } else { self.walk(expr, true, named) };
                below.saturating_add(attrs.len())
            }
            ExprKind::BinaryApp { op, arg1, arg2 } => {
                let tags = matches!(op, BinaryOp::GetTag | BinaryOp::HasTag);
                self.tags |= tags;
                let looks = tags || matches!(op, BinaryOp::In);
                let left = self.walk(arg1, looks, named).saturating_add(usize::from(looks));
                left.max(self.walk(arg2, false, named))
            }
            ExprKind::If { test_expr, then_expr, else_expr } => {
                let test = self.walk(test_expr, false, named);
                let branches = [then_expr, else_expr].map(|branch| self.walk(branch, inspected, named));
                branches.into_iter().fold(test, usize::max)
            }
            ExprKind::Record(members) => {
                members.values().map(|member| self.walk(member, inspected, named)).max().unwrap_or(0)
            }
            _ => children(expr).into_iter().map(|child| self.walk(child, false, named)).max().unwrap_or(0),
        }
    }
}

/// The direct parts of an expression.
fn children(expr: &Expr) -> Vec<&Expr> {
    match expr.expr_kind() {
        ExprKind::Lit(_) | ExprKind::Var(_) | ExprKind::Slot(_) | ExprKind::Unknown(_) => Vec::new(),
        ExprKind::If { test_expr, then_expr, else_expr } => vec![test_expr, then_expr, else_expr],
        ExprKind::And { left, right } | ExprKind::Or { left, right } => vec![left, right],
        ExprKind::UnaryApp { arg, .. } => vec![arg],
        ExprKind::BinaryApp { arg1, arg2, .. } => vec![arg1, arg2],
        ExprKind::ExtensionFunctionApp { args, .. } => args.iter().collect(),
        ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::Is { expr, .. } => vec![expr],
        ExprKind::Set(items) => items.iter().collect(),
        ExprKind::Record(members) => members.values().collect(),
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn condition(clauses: &str) -> Expr {
        let policy = Policy::parse(None, format!("forbid (principal, action, resource) {clauses};")).unwrap();
        policy.as_ref().condition()
    }

    #[test]
    fn a_forbid_is_lifted_by_its_own_approval_and_by_nothing_else() {
        for lifted in [
            r#"unless { context.approvals.contains("a") }"#,
            r#"unless { context["approvals"].contains("a") }"#,
            r#"when { resource.tier == 1 } unless { context.approvals.contains("a") }"#,
            r#"unless { resource.free || context.approvals.contains("a") }"#,
            r#"when { !context.approvals.contains("a") }"#,
            r#"when { if resource.free then false else !context.approvals.contains("a") }"#,
            r#"when { context.action.x == 1 && context has ticket } unless { context.approvals.contains("a") }"#,
        ] {
            assert_eq!(check_lift(&condition(lifted), "a"), Ok(()), "{lifted}");
        }
    }

    /// How a policy author could, by accident, let one approval stand for another.
    #[test]
    fn a_forbid_that_something_else_lifts_is_refused() {
        use LiftFault::{NeverForbids, NotLifted, OtherUse};
        for (clauses, fault) in [
            ("", NotLifted),
            (r#"unless { context.approvals.contains("b") }"#, OtherUse),
            (r#"unless { context.approvals.contains("a") || context.approvals.contains("b") }"#, OtherUse),
            (r#"unless { context.approvals.containsAny(["a"]) }"#, OtherUse),
            (r#"unless { context.approvals.isEmpty() }"#, OtherUse),
            (r#"unless { context has approvals && context.approvals.contains("a") }"#, OtherUse),
            (r#"unless { context == {approvals: ["a"]} }"#, OtherUse),
            (r#"unless { context.approvals.contains("a") && resource.free }"#, NotLifted),
            (r#"when { context.approvals.contains("a") || resource.tier == 1 }"#, NotLifted),
            (r#"when { context.approvals.contains("a") }"#, NeverForbids),
            (r#"when { false } unless { context.approvals.contains("a") }"#, NeverForbids),
        ] {
            assert_eq!(check_lift(&condition(clauses), "a"), Err(fault), "{clauses}");
        }
    }

    #[test]
    fn reach_follows_what_is_looked_into() {
        let mut reach = Reach::default();
        let named = reach.add(&condition(
            r#"when { resource.owner.team == User::"x" && principal in Group::"g" && Team::"t".size > 1 }"#,
        ));
        assert_eq!(reach.depth, 2);
        assert!(!reach.tags);
        assert_eq!(reach.attributes, ["owner", "size", "team"].map(String::from).into());
        assert_eq!(named.iter().map(ToString::to_string).collect::<Vec<_>>(), [r#"Team::"t""#]);

        let named = reach.add(&condition(
            r#"when { (if true then Team::"u" else {a: Team::"v"}.a).hasTag("x") && [Team::"w"].contains(resource) }"#,
        ));
        assert!(reach.tags);
        assert_eq!(named.len(), 2);
    }

    #[test]
    fn a_condition_depends_on_what_it_reads_and_on_a_context_taken_whole() {
        for dependent in [
            "when { context.action.path like \"/etc/*\" }",
            "when { context has action.path }",
            "when { !(context has action) || resource.x }",
            "when { context == {x: 1} }",
        ] {
            assert!(depends_on(&condition(dependent), "action"), "{dependent}");
        }
        assert!(!depends_on(&condition("when { context.mcp.action == 1 && context has time }"), "action"));
    }

    #[test]
    fn only_what_conditions_read_is_handed_over() {
        let mut reach = Reach::default();
        reach.add(&condition(r#"when { context.ticket == "x" && context has time && context has a.b }"#));
        assert!(reach.reads_context("ticket") && reach.reads_context("time") && reach.reads_context("a"));
        assert!(!reach.reads_context("other") && !reach.whole_context);
        for whole in [
            "when { context == {x: 1} }",
            "when { {c: context}.c == {x: 1} }",
            "when { [context].contains({x: 1}) }",
            "when { (if true then context else {x: 1}).x == 1 }",
        ] {
            let mut reach = Reach::default();
            reach.add(&condition(whole));
            assert!(reach.reads_context("anything"), "{whole}");
        }
    }
}
