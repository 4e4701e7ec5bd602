//! The way through a parsed line, collecting what it comes to.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use brush_parser::{
    Parser, ParserOptions,
    ast::{
        AndOr, AndOrList, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem,
        CompoundCommand, CompoundList, CompoundListItem, ExtendedTestExpr, IoFileRedirectKind,
        IoFileRedirectTarget, IoRedirect, Pipeline, RedirectList, SeparatorOperator, SimpleCommand,
        UnaryPredicate,
    },
};

use super::{MAX_PARTS, Surroundings, assign, guard, words::Word};
use crate::hook::part::{Access, NamedFile, Part, Why};

/// How deeply lines may stand within lines (`bash -c "bash -c …"`, `$(… $(…))`).
const MAX_DEPTH: u32 = 8;

/// Reads a line that has passed the guard.
pub(super) fn read(line: &str, around: &Surroundings) -> Vec<Part> {
    let folder = Some(around.cwd.clone());
    let mut reader = Reader { around, parts: Vec::new(), depth: 0, folder, unsure: false };
    reader.line(line);
    reader.parts
}

/// What has been read so far, and where.
pub(super) struct Reader<'a> {
    pub(super) around: &'a Surroundings,
    pub(super) parts: Vec<Part>,
    depth: u32,
    /// The directory, if it is known.
    pub(super) folder: Option<PathBuf>,
    /// Whether the last change of it may have failed.
    unsure: bool,
}

/// What a command reads, as far as the line says.
pub(super) enum Input {
    /// Something else.
    Elsewhere,
    /// This text.
    Text(String),
}

impl Reader<'_> {
    fn line(&mut self, line: &str) {
        let parsed = Parser::new(line.as_bytes(), &ParserOptions::default()).parse_program();
        match parsed {
            Ok(program) => program.complete_commands.iter().for_each(|list| self.list(list)),
            Err(_) => self.opaque(Why::Unparsed),
        }
    }

    /// A line within this one.
    pub(super) fn nested(&mut self, line: &str) {
        if let Err(why) = guard::check(line) {
            return self.opaque(why);
        }
        if self.depth >= MAX_DEPTH {
            return self.opaque(Why::TooLarge);
        }
        self.depth += 1;
        self.apart(|reader| reader.line(line));
        self.depth -= 1;
    }

    pub(super) fn opaque(&mut self, why: Why) {
        let part = Part::Opaque { why };
        if !self.parts.contains(&part) {
            self.push(part);
        }
    }

    pub(super) fn push(&mut self, part: Part) {
        // One more than may be is enough to tell.
        if self.parts.len() <= MAX_PARTS {
            self.parts.push(part);
        }
    }

    /// Reads something that changes the directory for nobody else.
    fn apart(&mut self, read: impl FnOnce(&mut Self)) {
        let before = (self.folder.clone(), self.unsure);
        read(self);
        (self.folder, self.unsure) = before;
    }

    /// Reads something that may run, or not, or several times.
    fn perhaps(&mut self, read: impl FnOnce(&mut Self)) {
        let before = self.folder.clone();
        read(self);
        if self.folder != before {
            self.folder = None;
        }
    }

    fn list(&mut self, list: &CompoundList) {
        for CompoundListItem(and_or, separator) in &list.0 {
            match separator {
                SeparatorOperator::Async => self.apart(|reader| reader.and_or(and_or)),
                SeparatorOperator::Sequence => self.and_or(and_or),
            }
            self.settle();
        }
    }

    /// From here on, what came before may have failed.
    fn settle(&mut self) {
        if std::mem::take(&mut self.unsure) {
            self.folder = None;
        }
    }

    fn and_or(&mut self, list: &AndOrList) {
        self.pipeline(&list.first);
        for next in &list.additional {
            match next {
                AndOr::And(pipeline) => self.pipeline(pipeline),
                AndOr::Or(pipeline) => {
                    self.settle();
                    self.perhaps(|reader| reader.pipeline(pipeline));
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        match pipeline.seq.as_slice() {
            [command] => self.command(command),
            commands => {
                for command in commands {
                    self.apart(|reader| reader.command(command));
                }
            }
        }
        if pipeline.bang {
            self.settle();
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                self.redirects(redirects.as_ref());
                self.compound(compound);
            }
            Command::Function(function) => {
                self.opaque(Why::Function);
                self.redirects(function.body.1.as_ref());
                self.perhaps(|reader| reader.compound(&function.body.0));
            }
            Command::ExtendedTest(test, redirects) => {
                self.redirects(redirects.as_ref());
                self.test(&test.expr);
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(shell) => self.apart(|reader| reader.list(&shell.list)),
            CompoundCommand::ForClause(clause) => {
                self.assigned(&clause.variable_name, false);
                for value in clause.values.iter().flatten() {
                    self.word(&value.value);
                }
                self.perhaps(|reader| reader.list(&clause.body.list));
            }
            CompoundCommand::CaseClause(clause) => {
                self.word(&clause.value.value);
                for case in &clause.cases {
                    for pattern in &case.patterns {
                        self.word(&pattern.value);
                    }
                    if let Some(list) = &case.cmd {
                        self.perhaps(|reader| reader.list(list));
                    }
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.perhaps(|reader| reader.list(&clause.condition));
                self.perhaps(|reader| reader.list(&clause.then));
                for branch in clause.elses.iter().flatten() {
                    if let Some(condition) = &branch.condition {
                        self.perhaps(|reader| reader.list(condition));
                    }
                    self.perhaps(|reader| reader.list(&branch.body));
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.perhaps(|reader| reader.list(&clause.0));
                self.perhaps(|reader| reader.list(&clause.1.list));
            }
            CompoundCommand::Arithmetic(_) => self.opaque(Why::Arithmetic),
            CompoundCommand::ArithmeticForClause(clause) => {
                self.opaque(Why::Arithmetic);
                self.perhaps(|reader| reader.list(&clause.body.list));
            }
            CompoundCommand::Coprocess(process) => {
                self.opaque(Why::Unparsed);
                self.apart(|reader| reader.command(&process.body));
            }
        }
    }

    fn test(&mut self, test: &ExtendedTestExpr) {
        match test {
            ExtendedTestExpr::And(left, right) | ExtendedTestExpr::Or(left, right) => {
                self.test(left);
                self.test(right);
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => self.test(inner),
            ExtendedTestExpr::UnaryTest(predicate, operand) => {
                let operand = self.word(&operand.value);
                let variable = matches!(
                    predicate,
                    UnaryPredicate::ShellVariableIsSetAndAssigned
                        | UnaryPredicate::ShellVariableIsSetAndNameRef
                );
                if variable && !operand.known().is_some_and(assign::is_name) {
                    self.opaque(Why::Arithmetic);
                }
            }
            ExtendedTestExpr::BinaryTest(predicate, left, right) => {
                use brush_parser::ast::BinaryPredicate as Is;

                let arithmetic = matches!(
                    predicate,
                    Is::ArithmeticEqualTo
                        | Is::ArithmeticNotEqualTo
                        | Is::ArithmeticLessThan
                        | Is::ArithmeticLessThanOrEqualTo
                        | Is::ArithmeticGreaterThan
                        | Is::ArithmeticGreaterThanOrEqualTo
                );
                for operand in [left, right] {
                    let operand = self.word(&operand.value);
                    if arithmetic {
                        // What is not known may hold an expression.
                        self.arithmetic(operand.known().unwrap_or("$"));
                    }
                }
            }
        }
    }

    fn simple(&mut self, simple: &SimpleCommand) {
        let mut variables = Vec::new();
        let mut words = Vec::new();
        let mut input = Input::Elsewhere;
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        for item in prefix {
            match item {
                CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) => {
                    variables.push(self.assignment(&assignment.name, &assignment.value));
                }
                other => self.item(other, &mut words, &mut input),
            }
        }
        words.extend(simple.word_or_name.iter().map(|name| self.word(&name.value)));
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            self.item(item, &mut words, &mut input);
        }
        if words.is_empty() {
            for (name, _) in &variables {
                self.assigned(name, false);
            }
        } else {
            let mut env = BTreeMap::new();
            let mut clear = true;
            for (name, value) in variables {
                clear &= self.given(&name, value.known().is_some());
                env.insert(name, value.shown().to_owned());
            }
            self.run(&words, &env, clear, &input);
        }
    }

    fn item(&mut self, item: &CommandPrefixOrSuffixItem, words: &mut Vec<Word>, input: &mut Input) {
        match item {
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => {
                if let Some(text) = self.redirect(redirect) {
                    *input = Input::Text(text);
                }
            }
            CommandPrefixOrSuffixItem::Word(word) | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => {
                words.push(self.word(&word.value));
            }
            CommandPrefixOrSuffixItem::ProcessSubstitution(kind, shell) => {
                self.apart(|reader| reader.list(&shell.list));
                words.push(Word::Unknown(format!("{kind}(…)")));
            }
        }
    }

    fn assignment(&mut self, name: &AssignmentName, value: &AssignmentValue) -> (String, Word) {
        let value = match value {
            AssignmentValue::Scalar(word) => self.word(&word.value),
            AssignmentValue::Array(items) => {
                for (key, item) in items {
                    if let Some(key) = key {
                        self.word(&key.value);
                        self.arithmetic(&key.value);
                    }
                    self.word(&item.value);
                }
                Word::Unknown("(…)".to_owned())
            }
        };
        match name {
            AssignmentName::VariableName(name) => (name.clone(), value),
            AssignmentName::ArrayElementName(name, index) => {
                self.word(index);
                self.arithmetic(index);
                (name.clone(), value)
            }
        }
    }

    /// A variable is set for the rest of the line. Setting one that is exported already exports the value.
    pub(super) fn assigned(&mut self, name: &str, exported: bool) {
        let exported = exported || self.around.exported.contains(name);
        if assign::changes_what_runs(name) || (exported && !assign::is_harmless(name)) {
            self.opaque(Why::Variable);
        }
    }

    /// A variable is set for one command. Whether that leaves the command clear.
    pub(super) fn given(&mut self, name: &str, known: bool) -> bool {
        if assign::changes_what_runs(name) {
            self.opaque(Why::Variable);
        }
        known && assign::is_harmless(name)
    }

    fn redirects(&mut self, list: Option<&RedirectList>) {
        for redirect in list.iter().flat_map(|list| &list.0) {
            self.redirect(redirect);
        }
    }

    /// Reads a redirection. The text that it makes a command's input, if it is known.
    fn redirect(&mut self, redirect: &IoRedirect) -> Option<String> {
        match redirect {
            IoRedirect::File(_, kind, target) => {
                self.redirect_file(kind, target);
                None
            }
            IoRedirect::OutputAndError(word, _) => {
                let target = self.word(&word.value);
                self.file(&target, &[Access::Write]);
                None
            }
            IoRedirect::HereDocument(descriptor, document) => {
                let text = document.doc.value.as_str();
                let text =
                    if document.requires_expansion { self.body(text) } else { Word::Known(text.to_owned()) };
                input(*descriptor, &text)
            }
            IoRedirect::HereString(descriptor, word) => input(*descriptor, &self.word(&word.value)),
        }
    }

    fn redirect_file(&mut self, kind: &IoFileRedirectKind, target: &IoFileRedirectTarget) {
        match target {
            IoFileRedirectTarget::Fd(_) => {}
            IoFileRedirectTarget::ProcessSubstitution(_, shell) => {
                self.apart(|reader| reader.list(&shell.list));
            }
            IoFileRedirectTarget::Duplicate(word) => {
                let target = self.word(&word.value);
                let number = target.known().map(|text| text.trim_end_matches('-'));
                if !number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
                    self.file(&target, access(kind));
                }
            }
            IoFileRedirectTarget::Filename(word) => {
                let target = self.word(&word.value);
                self.file(&target, access(kind));
            }
        }
    }

    fn file(&mut self, target: &Word, access: &[Access]) {
        let Some(path) = target.known() else { return self.opaque(Why::Redirection) };
        if path.starts_with("/dev/tcp/") || path.starts_with("/dev/udp/") {
            return self.opaque(Why::Network);
        }
        let streams = ["/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty"];
        if streams.contains(&path) {
            return;
        }
        match self.at(path) {
            Some(path) => {
                for access in access {
                    // Symbolic links and the project are looked at by whoever knows of files.
                    let file = NamedFile { path: path.clone(), inside: false };
                    self.push(Part::File { access: *access, file });
                }
            }
            None => self.opaque(Why::Directory),
        }
    }

    /// A path as an absolute one.
    fn at(&self, path: &str) -> Option<String> {
        let absolute = if Path::new(path).is_absolute() {
            PathBuf::from(path)
        } else {
            self.folder.as_ref()?.join(path)
        };
        absolute.into_os_string().into_string().ok()
    }

    /// `cd`, with its arguments.
    pub(super) fn change_folder(&mut self, arguments: &[Word]) {
        let target = match arguments {
            [] => self.around.home.as_deref(),
            [target] => target.known(),
            _ => None,
        };
        let searched = self.around.exported.contains("CDPATH");
        let target = target.filter(|target| !target.is_empty() && !target.starts_with('-') && !searched);
        self.folder = target.and_then(|target| Some(normal(&self.folder.as_ref()?.join(target))));
        self.unsure = !self.folder.as_deref().is_some_and(Path::is_dir);
    }

    /// The directory is not known any more.
    pub(super) fn lose_folder(&mut self) {
        self.folder = None;
    }
}

fn input(descriptor: Option<i32>, text: &Word) -> Option<String> {
    text.known().filter(|_| descriptor.unwrap_or(0) == 0).map(str::to_owned)
}

fn access(kind: &IoFileRedirectKind) -> &'static [Access] {
    match kind {
        IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => &[Access::Read],
        IoFileRedirectKind::ReadAndWrite => &[Access::Read, Access::Write],
        IoFileRedirectKind::Write
        | IoFileRedirectKind::Append
        | IoFileRedirectKind::Clobber
        | IoFileRedirectKind::DuplicateOutput => &[Access::Write],
    }
}

/// A path without `.` and `..`, as the shell changes directories.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
