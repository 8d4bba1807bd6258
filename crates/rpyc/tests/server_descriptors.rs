//! A server in a process without descriptors. A test binary of its own: the limit is the process's.

mod service;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rpyc::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use service::{Counter, eventually};

/// Counts what is said about accepting.
struct Complaints(AtomicUsize);

static COMPLAINTS: Complaints = Complaints(AtomicUsize::new(0));

impl log::Log for Complaints {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string().contains("can't accept for now") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn a_server_without_descriptors_waits_for_better_days() {
    log::set_logger(&COMPLAINTS).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let server = Server::builder()
        .service(|_| Arc::new(Counter::default()))
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.address().to_string();
    let serving = server.serve_in_thread().unwrap();
    rpyc::connect(&address).unwrap().ping().unwrap();
    eventually("the connection is gone", || server.connections() == 0);

    // Descriptors for this end of connections, but not for the server's.
    let before = getrlimit(Resource::Nofile);
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = Rlimit {
        current: Some(used + 6),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut sockets = Vec::new();
    while let Ok(socket) = TcpStream::connect(&address) {
        sockets.push(socket);
    }
    eventually("the server complains", || {
        COMPLAINTS.0.load(Ordering::Relaxed) == 1
    });

    // It complains once, and does not spin. A tenth of a second passes for each attempt; a spinning
    // thread would have used all of the five.
    let (started, spent) = (std::time::Instant::now(), cpu_time());
    std::thread::sleep(std::time::Duration::from_millis(500));
    let spent = cpu_time() - spent;
    assert!(spent < started.elapsed().as_secs_f64() / 2.0, "{spent} s");
    assert_eq!(COMPLAINTS.0.load(Ordering::Relaxed), 1);

    drop(sockets);
    setrlimit(Resource::Nofile, before).unwrap();
    rpyc::connect(&address).unwrap().ping().unwrap();
    server.stop();
    serving.join().unwrap().unwrap();
}
