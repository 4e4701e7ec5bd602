//! Commands and tools: what they are mapped to, how an agent could try to be mapped to something
//! milder, and what each shipped projection ignores.

use std::collections::BTreeMap;

use countersign_model::{Digest, Object, Operation, Subject};
use serde_json::{Value, json};

use super::load;
use crate::{
    Bundle, Template,
    mapping::{ACTION_RUN, ACTION_UNCLEAR, CommandLine, Mapped, MappingError, ToolCall},
};

fn bundle() -> Bundle {
    Bundle::load(&Template::Starter.files()).unwrap()
}

fn line(words: &[&str]) -> CommandLine {
    CommandLine {
        argv: words.iter().map(ToString::to_string).collect(),
        cwd: "/work".into(),
        env: BTreeMap::new(),
    }
}

fn tool(bundle: &Bundle, server: &str, tool: &str, arguments: &Object) -> Result<Mapped, MappingError> {
    bundle.mappings().tool(&ToolCall { server, tool, arguments, declared: None })
}

fn map(bundle: &Bundle, text: &str) -> Result<Mapped, MappingError> {
    bundle.mappings().command(&line(&text.split_whitespace().collect::<Vec<_>>()))
}

/// Every way of writing the same command leads to the same action and resource.
#[test]
fn a_command_is_the_same_however_its_options_are_placed() {
    let bundle = bundle();
    for text in [
        "aws s3api put-bucket-policy --bucket b --policy {}",
        "aws --profile x s3api put-bucket-policy --bucket b --policy {}",
        "aws --profile=x s3api put-bucket-policy --bucket=b --policy={}",
        "aws s3api --profile x put-bucket-policy --policy {} --bucket b",
        "aws s3api put-bucket-policy --bucket b --policy {} --profile x",
        "aws --no-cli-pager --debug s3api put-bucket-policy --bucket b --policy {}",
        "/usr/bin/aws s3api put-bucket-policy --bucket b --policy {}",
        "/opt/odd/aws s3api put-bucket-policy --bucket b --policy {}",
        "./aws s3api put-bucket-policy --bucket b --policy {}",
        "aws -- s3api put-bucket-policy --bucket b",
        "aws --profile s3 s3api put-bucket-policy --bucket b --policy {}",
        "aws --query s3api --output ls s3api put-bucket-policy --bucket b --policy {}",
    ] {
        let mapped = map(&bundle, text);
        if text.contains(" -- ") {
            // Behind `--` nothing is an option any more, so there is no bucket to speak of.
            assert!(matches!(mapped, Err(MappingError::Expression { .. })), "{text}");
            continue;
        }
        let mapped = mapped.unwrap();
        assert_eq!(
            (mapped.action.name.as_str(), mapped.resource.id.as_str()),
            ("Aws::change-bucket", "b"),
            "{text}"
        );
    }
    for text in [
        "kubectl -n production apply -f x.yaml",
        "kubectl apply -f x.yaml -n production",
        "kubectl --namespace=production apply --filename=x.yaml",
        "kubectl -nproduction apply -fx.yaml",
        "kubectl --v 6 --context c -n=production apply -R -f x.yaml",
    ] {
        let mapped = map(&bundle, text).unwrap();
        assert_eq!(mapped.action.name, "K8s::apply", "{text}");
        assert_eq!(mapped.resource.id, "production", "{text}");
        assert_eq!(mapped.files, ["x.yaml"], "{text}");
    }
}

/// What is approved by name can change behind it, so an interceptor must know which files matter.
#[test]
fn the_files_that_a_command_depends_on_are_named() {
    let bundle = bundle();
    for (text, files) in [
        ("aws s3api put-bucket-policy --bucket b --policy {}", vec![]),
        ("aws s3api put-bucket-policy --bucket b --policy file://p.json", vec!["p.json"]),
        (
            "aws iam put-role-policy --role-name r --policy-name p --policy-document=file:///p.json",
            vec!["/p.json"],
        ),
        ("kubectl apply -f a.yaml -f b.yaml", vec!["a.yaml", "b.yaml"]),
        ("helm upgrade web ./chart --values v.yaml", vec!["v.yaml"]),
        ("ls a.yaml", vec![]),
    ] {
        assert_eq!(map(&bundle, text).unwrap().files, files, "{text}");
    }
}

/// An option that is not known may swallow the next word. Whoever guesses can be led to guess the milder command.
#[test]
fn what_cannot_be_read_with_certainty_is_unclear_and_not_harmless() {
    let bundle = bundle();
    for text in [
        "aws --unknown s3 s3api put-bucket-policy --bucket b --policy {}",
        "aws --prof s3 s3api put-bucket-policy --bucket b --policy {}",
        "aws -x s3 ls",
        "aws s3api --unknown ls put-bucket-policy --bucket b --policy {}",
        "aws --profile",
        "aws s3api put-bucket-policy --bucket a --unknown --bucket b --policy {}",
        "kubectl --recursive get pods apply -f x.yaml",
        "kubectl -z get pods",
        "git -c alias.status=!sh status",
        "git --exec-path=/tmp/evil -c x status",
        "git -p status",
        "helm --post-renderer list upgrade web ./chart",
        "terraform -unknown plan apply",
    ] {
        let mapped = map(&bundle, text).unwrap();
        assert_eq!(mapped.action.name, ACTION_UNCLEAR, "{text}");
        assert_eq!(mapped.resource.kind, "Exec::Program", "{text}");
    }
}

#[test]
fn an_option_given_twice_does_not_pick_a_resource() {
    let twice = map(&bundle(), "aws s3api put-bucket-policy --bucket scratch --bucket prod --policy {}");
    assert_eq!(twice, Err(MappingError::Missing("resource id")));
}

#[test]
fn a_program_goes_by_its_name_only_where_its_name_can_be_trusted() {
    let bundle = bundle();
    for (program, id, located) in [
        ("ls", "ls", "path"),
        ("/bin/ls", "ls", "system"),
        ("/usr/local/bin/ls", "ls", "system"),
        ("./ls", "./ls", "elsewhere"),
        ("/tmp/ls", "/tmp/ls", "elsewhere"),
        ("/usr/bin/../../tmp/ls", "/usr/bin/../../tmp/ls", "elsewhere"),
        ("/usr/bin/x/ls", "/usr/bin/x/ls", "elsewhere"),
        ("//bin/ls", "//bin/ls", "elsewhere"),
    ] {
        let mapped = map(&bundle, program).unwrap();
        assert_eq!((mapped.action.name.as_str(), mapped.resource.id.as_str()), (ACTION_RUN, id));
        assert_eq!(mapped.context["command"]["located"], located, "{program}");
    }
}

#[test]
fn a_shell_or_wrapper_is_not_what_it_starts() {
    let bundle = bundle();
    for text in
        ["sh -c ls", "env ls", "sudo ls", "xargs ls", "nohup ls", "python3 -m awscli s3 ls", "busybox ls"]
    {
        let mapped = map(&bundle, text).unwrap();
        assert_eq!(mapped.action.name, ACTION_RUN);
        assert_eq!(mapped.resource.id, text.split_whitespace().next().unwrap());
    }
}

#[test]
fn a_command_line_is_bounded_and_clean() {
    let mappings = bundle();
    let mappings = mappings.mappings();
    assert_eq!(mappings.command(&line(&[])), Err(MappingError::NoProgram));
    assert_eq!(mappings.command(&line(&[""])), Err(MappingError::NoProgram));
    assert_eq!(mappings.command(&line(&["/usr/bin/"])), Err(MappingError::NoProgram));
    assert_eq!(mappings.command(&line(&["ls", "a\0b"])), Err(MappingError::Nul));
    let long = "x".repeat(300_000);
    assert_eq!(mappings.command(&line(&["ls", &long])), Err(MappingError::TooLarge("command line")));
    assert_eq!(mappings.command(&line(&["x"; 5_000])), Err(MappingError::TooLarge("command line")));
}

fn digest(mapped: Mapped) -> Digest {
    let subject = Subject { kind: "Agent".into(), id: "a".into(), properties: Object::new() };
    let (operation, projection): (Operation, _) = mapped.into_operation(subject);
    operation.bind(&projection).unwrap().digest()
}

/// Whatever a mapping makes of a command, the whole command is bound: every word, the directory, the environment.
#[test]
fn commands_bind_every_word_and_no_shipped_projection_ignores_any() {
    let bundle = bundle();
    let commands = [
        "aws s3api put-bucket-policy --bucket b --policy {}",
        "aws secretsmanager get-secret-value --secret-id s",
        "aws iam put-role-policy --role-name r --policy-name p --policy-document {}",
        "kubectl apply -f x.yaml",
        "helm upgrade web ./chart",
        "terraform apply -auto-approve",
        "git push origin main",
        "cargo build",
        "ls -l",
    ];
    for text in commands {
        let base = line(&text.split_whitespace().collect::<Vec<_>>());
        let map = |line: &CommandLine| bundle.mappings().command(line).unwrap();
        assert!(map(&base).projection.is_empty(), "{text}");
        let before = digest(map(&base));
        let mut longer = base.clone();
        longer.argv.push("--region=elsewhere".into());
        let mut elsewhere = base.clone();
        elsewhere.cwd = "/elsewhere".into();
        let mut environment = base.clone();
        environment.env.insert("AWS_PROFILE".into(), "production".into());
        let mut by_path = base.clone();
        by_path.argv[0] = format!("/usr/bin/{}", base.argv[0]);
        for changed in [longer, elsewhere, environment, by_path] {
            assert_ne!(digest(map(&changed)), before, "{changed:?}");
        }
    }
}

/// The starter's projections for tools ignore `description`, and nothing else.
#[test]
fn tool_projections_ignore_the_description_and_nothing_else() {
    let bundle = bundle();
    let of =
        |name: &str, arguments: &Value| tool(&bundle, "files", name, arguments.as_object().unwrap()).unwrap();
    let base = json!({"path": "/a", "content": "x", "edits": [], "dryRun": false, "source": "/s", "destination": "/d",
                      "description": "one wording"});
    for (name, ignored) in [
        ("write_file", vec!["/action/properties/description"]),
        ("edit_file", vec!["/action/properties/description"]),
        ("create_directory", vec![]),
        ("move_file", vec![]),
        ("read_file", vec![]),
        ("delete_file", vec![]),
    ] {
        let pointers: Vec<String> =
            of(name, &base).projection.pointers().iter().map(ToString::to_string).collect();
        assert_eq!(pointers, ignored, "{name}");
        for member in base.as_object().unwrap().keys() {
            let mut changed = base.clone();
            changed[member] = json!("something else");
            let same = digest(of(name, &changed)) == digest(of(name, &base));
            let advisory = member == "description" && !ignored.is_empty();
            assert_eq!(same, advisory, "{name} {member}");
        }
    }
    let others = of("write_file", &base);
    let elsewhere = tool(&bundle, "other", "write_file", base.as_object().unwrap()).unwrap();
    assert_ne!(digest(others), digest(elsewhere), "the server binds");
}

#[test]
fn a_tool_is_mapped_by_its_server_and_name_or_by_default() {
    let bundle = load(&[
        ("policies/p.cedar", "permit (principal, action, resource);"),
        (
            "mappings.toml",
            "[[tool]]\nserver = \"db-*\"\nmatch = \"query\"\naction = \"query\"\n\
             context = { verb = \"$arguments.sql.startsWith('SELECT') ? 'read' : 'write'\" }\n\
             resource = { type = \"Database\", id = \"$server\", properties = { tool = \"$params.name\" } }\n",
        ),
    ]);
    let sql = |sql: &str| json!({"sql": sql}).as_object().unwrap().clone();
    let mapped = tool(&bundle, "db-1", "query", &sql("SELECT 1")).unwrap();
    assert_eq!((mapped.action.name.as_str(), &mapped.context["verb"]), ("query", &json!("read")));
    assert_eq!((mapped.resource.kind.as_str(), mapped.resource.id.as_str()), ("Database", "db-1"));
    assert_eq!(mapped.resource.properties["tool"], "query");

    let default = tool(&bundle, "files", "query", &sql("SELECT 1")).unwrap();
    assert_eq!(default.action.name, "Mcp::tools/call");
    assert_eq!((default.resource.kind.as_str(), default.resource.id.as_str()), ("Mcp::Tool", "files/query"));
    assert_eq!(default.action.properties, sql("SELECT 1"));
    assert_eq!(default.context["mcp"], json!({"server": "files", "method": "tools/call", "tool": "query"}));

    assert!(matches!(tool(&bundle, "db-1", "query", &Object::new()), Err(MappingError::Expression { .. })));
    // `a/b` + `c` and `a` + `b/c` must not be the same tool.
    assert!(matches!(tool(&bundle, "a/b", "c", &Object::new()), Err(MappingError::Server(_))));
}

/// A mapping must not unbind the arguments that it leaves out.
#[test]
fn arguments_bind_whatever_the_mapping_makes_of_them() {
    let bundle = load(&[
        ("policies/p.cedar", "permit (principal, action, resource);"),
        (
            "mappings.toml",
            "[[tool]]\nmatch = \"pay\"\naction = \"pay\"\n\
             resource = { type = \"Account\", id = \"$arguments.to\" }\n",
        ),
    ]);
    let pay = |amount: u32| {
        let arguments = json!({"to": "x", "amount": amount});
        digest(tool(&bundle, "bank", "pay", arguments.as_object().unwrap()).unwrap())
    };
    assert_ne!(pay(1), pay(1_000_000));
}

#[test]
fn other_methods_have_the_default_mappings_of_coaz() {
    let bundle = bundle();
    let map =
        |method: &str, params: Value| bundle.mappings().method("files", method, params.as_object().unwrap());
    for (method, params, kind, id) in [
        ("initialize", json!({}), "Mcp::Server", "files"),
        ("tools/list", json!({"cursor": "x"}), "Mcp::Server", "files"),
        ("resources/read", json!({"uri": "file:///a"}), "Mcp::Resource", "file:///a"),
        ("prompts/get", json!({"name": "p"}), "Mcp::Prompt", "files/p"),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "p"}}),
            "Mcp::Prompt",
            "files/p",
        ),
        ("completion/complete", json!({"ref": {"type": "ref/resource", "uri": "u"}}), "Mcp::Resource", "u"),
        ("tasks/get", json!({"taskId": "t"}), "Mcp::Task", "t"),
        ("invented/later", json!({}), "Mcp::Server", "files"),
    ] {
        let mapped = map(method, params).unwrap();
        assert_eq!(mapped.action.name, format!("Mcp::{method}"));
        assert_eq!((mapped.resource.kind.as_str(), mapped.resource.id.as_str()), (kind, id), "{method}");
    }
    assert!(matches!(map("resources/read", json!({})), Err(MappingError::Parameter { .. })));
    assert!(matches!(map("prompts/get", json!({"name": 7})), Err(MappingError::Parameter { .. })));
    assert!(map("", json!({})).is_err());
}
