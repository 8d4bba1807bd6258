//! The command as its users start it, with `serve-demo` as the server: two processes, no Python.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A command that runs until it is told to stop, and said where it listens.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = rpyc(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned();
        assert!(address.contains(':'), "{args:?} said {line:?}");
        Self { child, address }
    }

    /// Ends it as Ctrl-C does, and tells its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rpyc(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpyc"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    told(rpyc(args).output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What a command prints that succeeds.
fn printed(args: &[&str]) -> String {
    let (code, out, err) = run(args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}: {out}");
    out.trim_end().to_owned()
}

/// The exit code and the one line of a command that fails.
fn complaint(args: &[&str]) -> (i32, String) {
    let (code, out, err) = run(args);
    assert_eq!(
        (out.as_str(), err.lines().count()),
        ("", 1),
        "{args:?}: {err}"
    );
    (code, err.trim_end().to_owned())
}

#[test]
fn values_go_there_and_back() {
    let demo = Running::start(&["serve-demo", "127.0.0.1:0"]);
    let at = demo.address.as_str();
    assert_eq!(printed(&["call", at, "root.add", "1", "2"]), "3");
    assert_eq!(printed(&["call", at, "root.add", "-1.5", "0.25"]), "-1.25");
    assert_eq!(printed(&["call", at, "root.greet"]), "Hello, world!");
    assert_eq!(
        printed(&["call", at, "root.greet", "-k", "name=Ann"]),
        "Hello, Ann!"
    );
    assert_eq!(
        printed(&["call", at, "root.echo", "1", "--text", "--json"]),
        "\"1\""
    );
    assert_eq!(
        printed(&[
            "call",
            at,
            "root.echo",
            "(1, 'a', None, True, b'x', 2.5, [])",
            "--json"
        ]),
        r#"[1,"a",null,true,{"bytes":"78"},2.5,[]]"#
    );
    assert_eq!(
        printed(&["call", at, "root.echo", "no literal"]),
        "no literal"
    );
    assert_eq!(printed(&["get", at, "root.counted"]), "0");
    assert_eq!(printed(&["get", at, "root.echo((7, 8, 9))[-1]"]), "9");
    let names = printed(&["dir", at]);
    assert!(names.lines().any(|name| name == "add"), "{names}");
    let info = printed(&["info", at, "--json"]);
    assert!(info.contains(r#""class":"rpyc.Demo""#), "{info}");
    assert!(printed(&["ping", at]).contains("is alive"));
    assert!(printed(&["ping", at, "--json", "-c", "2"]).lines().count() == 2);
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn each_trouble_has_its_number() {
    let demo = Running::start(&["serve-demo", "127.0.0.1:0"]);
    let at = demo.address.as_str();
    let raised = complaint(&["call", at, "root.divide", "1", "0"]);
    assert_eq!(
        raised,
        (1, "rpyc: ZeroDivisionError: division by zero".to_owned())
    );
    assert_eq!(complaint(&["get", at, "root.nothing"]).0, 1);
    assert_eq!(complaint(&["get", at, "root.("]).0, 2);
    assert_eq!(complaint(&["get", at, "other"]).0, 2);
    assert_eq!(run(&["call", at]).0, 2);
    assert_eq!(run(&["ping", "nowhere"]).0, 2);
    assert_eq!(
        complaint(&["call", at, "root.sleep", "1", "--timeout", "0.2"]).0,
        4
    );
    assert_eq!(complaint(&["eval", at, "1 + 1"]).0, 6);
    assert_eq!(complaint(&["serve-demo", at]).0, 7);
    assert_eq!(complaint(&["ping", at, "--token-file", "/nowhere"]).0, 7);
    assert_eq!(demo.stop(), Some(0));

    // Nobody listens; somebody accepts, and leaves.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let leaving = std::thread::spawn(move || drop(listener.accept().unwrap()));
    assert_eq!(complaint(&["ping", &at]).0, 5);
    leaving.join().unwrap();
    let (code, text) = complaint(&["ping", &at]);
    assert_eq!((code, text), (3, format!("rpyc: nobody listens at {at}")));
}

#[test]
fn a_token_and_a_socket_file_are_the_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        private(&path);
        path.to_str().unwrap().to_owned()
    };
    let token = file("token", "a token of more than sixteen bytes\n");
    let wrong = file("wrong", "another token, long enough\n");
    let socket = format!("unix:{}", folder.path().join("s").display());
    let demo = Running::start(&["serve-demo", &socket, "--token-file", &token, "--pool", "2"]);
    assert_eq!(
        printed(&[
            "call",
            &socket,
            "root.add",
            "1",
            "2",
            "--token-file",
            &token
        ]),
        "3"
    );
    let (code, text) = complaint(&["ping", &socket, "--token-file", &wrong]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("refuses the token"), "{text}");
    assert_eq!(demo.stop(), Some(0));
    assert!(!folder.path().join("s").exists());
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_registry_knows_the_demo() {
    for flag in [
        &["registry", "127.0.0.1:0"][..],
        &["registry", "127.0.0.1:0", "--tcp"],
    ] {
        let registry = Running::start(flag);
        let url = registry.address.clone();
        let demo = Running::start(&["serve-demo", "127.0.0.1:0", "--register", &url]);
        // It registers when it serves, which is soon after it says so.
        let found = (0..200).find_map(|_| {
            let found = printed(&["list", "demo", "--registry", &url]);
            if found.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            (!found.is_empty()).then_some(found)
        });
        assert_eq!(found.as_deref(), Some(demo.address.as_str()));
        assert_eq!(
            printed(&["list", "--registry", &url, "--json"]),
            r#"["DEMO"]"#
        );
        assert_eq!(demo.stop(), Some(0));
        assert_eq!(printed(&["list", "demo", "--registry", &url]), "");
        assert_eq!(registry.stop(), Some(0));
        assert!([3, 4].contains(&complaint(&["list", "--registry", &url, "--timeout", "0.2"]).0));
    }
}

#[test]
fn a_script_runs_in_the_shell_until_its_first_error() {
    let demo = Running::start(&["serve-demo", "127.0.0.1:0"]);
    let script = "# a comment\nx = root.add(1, 2)\nx\nroot.greet(name='Bob')\n\
                  root.divide(1, 0)\nroot.add(7, 7)\n";
    let mut shell = rpyc(&["shell", &demo.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let (code, out, err) = told(shell.wait_with_output().unwrap());
    assert_eq!(out, "3\n'Hello, Bob!'\n");
    assert_eq!(
        (code, err.as_str()),
        (1, "rpyc: ZeroDivisionError: division by zero\n")
    );
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn the_benchmark_tells_latencies() {
    let demo = Running::start(&["serve-demo", "127.0.0.1:0"]);
    let at = demo.address.as_str();
    let text = printed(&["bench", at, "root.count", "-s", "0.1"]);
    assert!(text.contains("p99.9") && text.contains('#'), "{text}");
    let json = printed(&[
        "bench", at, "root.add", "1", "2", "-s", "0.1", "-c", "2", "-o", "50", "--json",
    ]);
    assert!(
        json.contains(r#""connections":2"#) && json.contains(r#""p50":"#),
        "{json}"
    );
    assert_eq!(complaint(&["bench", at, "root.divide", "1", "0"]).0, 1);
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn a_one_shot_demo_ends_with_its_client() {
    let mut demo = Running::start(&["serve-demo", "127.0.0.1:0", "--one-shot"]);
    printed(&["ping", &demo.address]);
    assert!(demo.child.wait().unwrap().success());
    let mut rest = String::new();
    demo.child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "");
}
