//! The HTTP listener: TLS, limits, slow clients, and how it ends.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::ca::Ca;
use crate::support::free_port;
use crate::support::mailbell::{Mailbell, SOON};
use crate::support::wait_for;
use crate::support::web::{Web, alone, read_to_end, token};

#[tokio::test]
async fn whatever_is_wrong_is_a_problem_that_says_so_and_every_answer_is_dressed() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, "max_body = \"16KiB\"\n"));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    let bearer = format!("Bearer {admin}");
    let with = ("authorization", bearer.as_str());
    assert_eq!(web.get("/nowhere", &admin).await.problem(404), "there is nothing at this path");
    let not_allowed = web.ask("PUT", "/api/v1/tokens", &[with], "").await;
    assert!(not_allowed.problem(405).starts_with("this path does not take this method"));
    assert_eq!(not_allowed.header("allow"), "GET,HEAD");
    let large = web.ask("DELETE", "/api/v1/tokens/x", &[with], "x".repeat(16_385)).await;
    assert!(large.problem(413).starts_with("the body is larger than 16384 bytes"));
    let long = "x".repeat(17_000);
    let header = web.ask("GET", "/healthz", &[("x-long", &long)], "").await;
    assert!(header.problem(431).ends_with("at most 16384 are taken"));
    web.get(&format!("/{}", "x".repeat(9000)), &admin).await.problem(414);
    let strange = web.ask("GET", "/api/v1/tokens", &[("authorization", "Basic YTpi")], "").await;
    assert!(strange.problem(401).contains("write Authorization: Bearer TOKEN"));
    assert_eq!(strange.json()["field"], "Authorization");
    let dressed = [web.get("/healthz", "").await, web.get("/api/v1/tokens", &admin).await, not_allowed, large, header];
    for answer in dressed {
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{answer:?}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // Without a length it is counted as it comes.
    let endless = format!(
        "DELETE /api/v1/tokens/x HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\nTransfer-Encoding: chunked\r\n\r\n\
         5000\r\n{}\r\n",
        "x".repeat(0x5000)
    );
    let said = web.raw(endless.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 413 ") && said.to_lowercase().contains("connection: close"), "{said}");
    let bombs = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "x: y\r\n".repeat(5000));
    assert!(web.raw(bombs.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(web.raw(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

/// A fault of ours is a problem for programs and a page for people, and the next request is answered.
#[tokio::test]
async fn a_handler_that_panics_is_answered_for() {
    let port = free_port();
    let mut mailbell = Mailbell::new(&alone(port, ""));
    mailbell.env("FAILPOINTS", "handler_panics=3*return->off");
    mailbell.start();
    let web = Web::new(port);
    let page = web.ask("GET", "/login", &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], "").await;
    assert_eq!((page.status, page.header("content-type")), (500, "text/html; charset=utf-8"), "{page:?}");
    for wanted in
        ["<h1>Internal Server Error</h1>", "a fault of mailbell; its log says more", "/console/assets/style.css"]
    {
        assert!(page.body.contains(wanted), "{wanted}: {}", page.body);
    }
    assert!(page.header("content-security-policy").contains("default-src 'none'"), "{page:?}");
    for (path, accept) in [("/login", "*/*"), ("/healthz", "application/json")] {
        let problem = web.ask("GET", path, &[("accept", accept)], "").await;
        assert_eq!(problem.problem(500), "a fault of mailbell; its log says more");
        assert_eq!(problem.header("cache-control"), "no-store");
    }
    assert_eq!(web.get("/healthz", "").await.body, "ok\n");
    assert_eq!(mailbell.log().matches("a request failed by a fault of mailbell").count(), 3, "{}", mailbell.log());
}

/// Headers, a body or nothing at all, a little at a time: the connection ends, and others are served all the while.
#[tokio::test]
async fn slow_clients_are_cut() {
    let port = free_port();
    let mailbell = Mailbell::run(&alone(port, "timeout = \"1s\"\n"));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    let drip = async |head: String, piece: &'static [u8]| {
        let mut stream = web.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let dripping = tokio::spawn(async move {
            while writer.write_all(piece).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let mut said = Vec::new();
        // The end may come as a reset: it was still writing.
        let ended = tokio::time::timeout(SOON, reader.read_to_end(&mut said)).await;
        dripping.abort();
        assert!(ended.is_ok(), "it may go on for ever");
        String::from_utf8_lossy(&said).into_owned()
    };
    drip("GET /healthz HTTP/1.1\r\nHost: x\r\n".into(), b"a: b\r\n").await;
    let body = format!(
        "DELETE /api/v1/tokens/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\nContent-Length: 10000\r\n\r\n"
    );
    let said = drip(body, b"x").await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("the body was not there within 1 s"), "{said}");
    assert!(said.contains("retry-after: 1"), "{said}");
    read_to_end(web.connect().await).await;
    let mut idle = web.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_to_end(idle).await.ends_with("ok\n"), "answered, and closed when nothing more came");
    assert_eq!(web.get("/healthz", "").await.status, 200);
}

/// Pipelined requests whose answers nobody takes.
#[tokio::test]
async fn who_does_not_read_is_cut() {
    let port = free_port();
    let mailbell =
        Mailbell::run(&alone(port, "timeout = \"1s\"\nmax_connections = 1\nevents_subscribers = 0\nrate = 0\n"));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    let request =
        format!("GET /api/v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\r\n").repeat(100);
    let socket = TcpSocket::new_v4().unwrap();
    // Before it connects: a window that shrinks later is not believed.
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let (_reader, mut writer) = stream.into_split();
    let sent = tokio::time::timeout(Duration::from_secs(60), async {
        while writer.write_all(request.as_bytes()).await.is_ok() {}
    });
    assert!(sent.await.is_ok(), "it is never cut");
    wait_for("its place to be free", SOON, async || {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        drop(stream);
        (web.raw(b"GET /healthz HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let port = free_port();
    let _mailbell = Mailbell::run(&alone(port, "max_connections = 3\nevents_subscribers = 0\n"));
    let web = Web::new(port);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = web.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 8];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    let refused = web.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("too many connections"), "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    assert_eq!(length, body.len());
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["retry_after"], 1);
    drop(held);
    wait_for("room", SOON, async || {
        web.raw(b"GET /healthz HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200").then_some(())
    })
    .await;
}

/// A limit on open files that is too low is raised. Where it may not be there are fewer places, and all else still has what it needs.
#[tokio::test]
async fn connections_leave_open_files_for_everything_else() {
    let port = free_port();
    let started = |limit: &str| {
        let mut mailbell = Mailbell::under(&["prlimit", &format!("--nofile={limit}")], &alone(port, ""));
        mailbell.start();
        mailbell
    };
    let raised = started("256:4096");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", raised.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().next(), Some("4096"), "{limits}");
    assert!(!raised.log().contains("open files"), "{}", raised.log());
    drop(raised);
    let few = started("400:400");
    few.logged("connections at a time instead of 2048: this process may have 400 open files", 1).await;
    assert!(few.log().contains("or lower http.max_connections"), "{}", few.log());
    let web = Web::new(port);
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(web.connect().await);
    }
    assert!(web.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
    let output = few.cli(&["queue", "list"], true);
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_that_is_there_and_a_reload_reads_it_again() {
    let (first, second) = (Ca::new(), Ca::new());
    let port = free_port();
    let keys = "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    let config = alone(port, keys).replace(&format!("127.0.0.1:{port}"), &format!("0.0.0.0:{port}"));
    let mut mailbell = Mailbell::new(&config);
    let install = |ca: &Ca| {
        std::fs::copy(ca.cert(), mailbell.path("cert.pem")).unwrap();
        std::fs::copy(ca.key(), mailbell.path("key.pem")).unwrap();
    };
    install(&first);
    mailbell.start();
    let by_first = Web::tls(port, &first);
    assert_eq!(by_first.get("/healthz", "").await.body, "ok\n");
    let admin = token(&mailbell, "admin", "admin", &[]);
    let headers = [("content-type", "application/json")];
    let login = by_first.ask("POST", "/api/v1/session", &headers, json!({ "token": admin }).to_string()).await;
    assert!(login.header("set-cookie").ends_with("; Secure"), "{login:?}");
    let plain = Web::new(port).raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");
    std::fs::copy(second.cert(), mailbell.path("cert.pem")).unwrap();
    let refused = mailbell.cli(&["reload"], true);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("key.pem cannot be used"), "{said}");
    assert_eq!(by_first.get("/healthz", "").await.body, "ok\n", "the old one stays in force");
    std::fs::copy(second.key(), mailbell.path("key.pem")).unwrap();
    mailbell.reload(&config);
    assert_eq!(Web::tls(port, &second).get("/healthz", "").await.body, "ok\n");
}

#[tokio::test]
async fn settings_are_in_force_after_a_reload_and_the_address_after_a_restart() {
    let port = free_port();
    let mut mailbell = Mailbell::run(&alone(port, ""));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    let other = free_port();
    let said = mailbell.reload(&alone(other, "rate = 1\nbehind_proxy = true\n"));
    assert!(said.contains("http.listen"), "{said}");
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(web.get("/api/v1/session", &admin).await.status);
    }
    assert!(answers.contains(&429), "{answers:?}");
    let local = web.ask("GET", "/readyz", &[], "").await;
    assert_eq!(local.json()["ready"], false, "what belongs to the address goes with it: {local:?}");
    mailbell.stop();
    mailbell.start();
    assert_eq!(Web::new(other).get("/healthz", "").await.status, 200);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

/// An idle connection does not hold up the end, and a request under way is answered.
#[tokio::test]
async fn the_end_of_the_service_is_clean() {
    let port = free_port();
    let mut mailbell = Mailbell::run(&alone(port, ""));
    let web = Web::new(port);
    let admin = token(&mailbell, "admin", "admin", &[]);
    let idle = web.connect().await;
    let mut half = web.connect().await;
    let head = format!(
        "DELETE /api/v1/tokens/nobody HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\nContent-Length: 4\r\n\r\nab"
    );
    half.write_all(head.as_bytes()).await.unwrap();
    // Both were accepted once a later one is answered.
    assert_eq!(web.get("/healthz", "").await.status, 200);
    mailbell.signal("TERM");
    wait_for("the door to close", SOON, async || TcpStream::connect(("127.0.0.1", port)).await.err()).await;
    half.write_all(b"cd").await.unwrap();
    assert!(read_to_end(half).await.starts_with("HTTP/1.1 404 "));
    assert_eq!(read_to_end(idle).await, "");
    assert!(mailbell.ended().success(), "{}", mailbell.log());
}
