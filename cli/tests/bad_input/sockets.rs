//! Garbage at every socket: it is answered, or the connection is closed; whoever asks properly is served beside it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::container::Spec;

use crate::InForce;
use crate::fabric::Fabric;

#[test]
fn garbage_is_answered_and_those_who_ask_properly_are_served_beside_it() {
    let fabric = Fabric::up("badbytes", 1);
    let _inside = fabric.node(1).run(&Spec::idle("inside")).unwrap();
    fabric.settle();
    let before = InForce::of(&fabric);
    let (server, agent) = (fabric.server_socket(), fabric.node(1).agent_socket());
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    let bomb = yaml_bomb();
    for (body, kind, code, words) in [
        (&b"\x00\xff\xfe"[..], "application/json", 400, "read the body as JSON"),
        (b"", "application/json", 400, "read the body as JSON"),
        (b"[]", "application/json", 400, "the body is no object"),
        (&deep(50_000), "application/json", 400, "recursion limit exceeded"),
        (&deep(2_000_000), "application/json", 413, "larger than the limit of 3145728 bytes"),
        (bomb.as_bytes(), "application/yaml", 400, "repeats itself too much"),
        (
            b"\x6b\x38\x73\x00\xff\xff\xff",
            "application/vnd.kubernetes.protobuf",
            400,
            "read the body as protobuf",
        ),
        (b"{}", "text/plain", 415, "the media types understood here are"),
    ] {
        let head = format!(
            "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = converse(&server, &[head.as_bytes(), body].concat());
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{code} {words}: {answer}");
        assert!(answer.contains(words), "{words}: {answer}");
    }
    for bytes in [
        &b"\x16\x03\x01 no http \r\n\r\n"[..],
        &[b"GET / HTTP/1.1\r\n".as_slice(), &b"A: b\r\n".repeat(20_000), b"\r\n"].concat(),
    ] {
        let answer = converse(&server, bytes);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    converse(&server, &[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 4000]].concat());

    for (line, words) in [
        (&b"\xff\xfe\n"[..], "the request is not understood"),
        (b"{}\n", "send one of the requests of this version"),
        (b"{\"request\":\"attach\"}\n", "the request is not understood"),
        (&[deep(500_000), b"\n".to_vec()].concat(), "the request is not understood"),
        (&vec![b'x'; 5 << 20], "the request is longer than 4194304 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "the request is not understood"),
    ] {
        let answer = converse(&agent, line);
        assert!(answer.contains(words), "{words}: {answer}");
    }
    before.stays(&fabric);
    fabric.down();
}

#[test]
fn a_thousand_idle_connections_and_watchers_that_never_read_keep_nobody_out() {
    let fabric = Fabric::up("badidle", 1);
    let before = InForce::of(&fabric);
    let (server, agent) = (fabric.server_socket(), fabric.node(1).agent_socket());
    let connect = |path: &Path| UnixStream::connect(path).unwrap();
    let idle: Vec<UnixStream> = (0..400).map(|_| connect(&server)).collect();
    let slow: Vec<UnixStream> = (0..200)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"GET /api/v1/namespaces HTTP/1.1\r\nHos").unwrap();
            stream
        })
        .collect();
    let watchers: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let silent: Vec<UnixStream> = (0..300).map(|_| connect(&agent)).collect();
    let written = "w".repeat(100_000);
    for round in 0..20 {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: noisy, annotations: {{a: '{round}{written}'}}}}\n"
        );
        fabric.apply("default", &text);
    }
    let asked = Instant::now();
    fabric.attachments(fabric.node(1));
    assert!(asked.elapsed() < Duration::from_secs(5), "the agent answers beside silent clients");
    fabric.done("default", &["delete", "ns", "noisy"], "");
    drop((idle, slow, watchers, silent));
    before.stays(&fabric);
    fabric.down();
}

/// Sends bytes and gives what was answered until the connection was closed.
fn converse(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Whoever refuses early stops reading.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let late = ended.is_err_and(|fault| fault.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!late, "the connection is still open, after {:?}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Nine to the ninth values in a few hundred bytes.
fn yaml_bomb() -> String {
    let letters = "abcdefghijk".as_bytes();
    let line = |pair: &[u8]| {
        let (before, name) = (char::from(pair[0]), char::from(pair[1]));
        let items = vec![format!("*{before}"); 9].join(",");
        format!("{name}: &{name} [{items}]\n")
    };
    let rest: String = letters.windows(2).map(line).collect();
    format!("a: &a [x,x,x,x,x,x,x,x,x]\n{rest}")
}
