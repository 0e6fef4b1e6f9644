//! A round as such, in a process that measures itself: ours, and the least that it takes.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mailbell::probe::{Engine, Kind, Target};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::time::{ClockId, clock_gettime};

use super::{AT_ONCE, Cost, LIMIT};

/// Who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Round {
    /// Sockets and epoll, and nothing else. Closes by RST, as the engine does.
    Bare,
    /// The same, closing by FIN.
    BareFin,
    Engine,
}

impl Round {
    pub fn act(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareFin => "bare-fin",
            Self::Engine => "engine",
        }
    }
}

/// The process: `FILE`, with a target a line. Prints how many are open, and what the round cost, in seconds.
pub fn act(name: &str) {
    let file = std::env::args().nth(1).unwrap();
    let list = std::fs::read_to_string(file).unwrap();
    let (open, cost) = match name {
        "bare" => bare(&list, true),
        "bare-fin" => bare(&list, false),
        "engine" => engine(&list),
        other => panic!("{other} is no act"),
    };
    println!("{open} {} {}", cost.wall, cost.cpu);
}

/// What [`act`] printed.
pub fn read(output: &str) -> (usize, Cost) {
    let mut words = output.split_whitespace();
    let open = words.next().unwrap().parse().unwrap();
    let mut seconds = || words.next().unwrap().parse().unwrap();
    (open, Cost { wall: seconds(), cpu: seconds() })
}

fn measured(round: impl FnOnce() -> usize) -> (usize, Cost) {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap().as_secs_f64();
    let (start, before) = (Instant::now(), cpu());
    let open = round();
    (open, Cost { wall: start.elapsed().as_secs_f64(), cpu: cpu() - before })
}

fn engine(list: &str) -> (usize, Cost) {
    let targets: Vec<Target> = list.lines().map(|line| line.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Engine::new(AT_ONCE, LIMIT, LIMIT);
    measured(|| {
        runtime.block_on(async {
            let outcomes = engine.round(targets.iter().map(|target| (target, LIMIT, None)));
            outcomes.filter(|(_, outcome)| std::future::ready(outcome.kind == Kind::Open)).count().await
        })
    })
}

fn bare(list: &str, rst: bool) -> (usize, Cost) {
    let targets: Vec<SocketAddrV4> = list.lines().map(|line| line.parse().unwrap()).collect();
    measured(|| Scan::new(rst).run(&targets))
}

struct Scan {
    epoll: OwnedFd,
    rst: bool,
    /// Those on the way, by their place.
    sockets: Vec<Option<OwnedFd>>,
    /// When which has taken too long.
    ends: VecDeque<(Instant, usize)>,
    under_way: usize,
}

impl Scan {
    fn new(rst: bool) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        Self { epoll, rst, sockets: Vec::new(), ends: VecDeque::new(), under_way: 0 }
    }

    /// How many are open.
    fn run(mut self, targets: &[SocketAddrV4]) -> usize {
        let mut rest = targets.iter();
        let mut open = 0;
        let mut events = Vec::with_capacity(AT_ONCE);
        loop {
            while self.under_way < AT_ONCE {
                let Some(target) = rest.next() else { break };
                self.begin(target);
            }
            let Some(wait) = self.wait() else { return open };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)).unwrap();
            for event in events.drain(..) {
                let place = event.data.u64() as usize;
                if let Some(socket) = self.sockets[place].take() {
                    open += usize::from(sockopt::socket_error(&socket).unwrap().is_ok());
                    self.under_way -= 1;
                }
            }
            self.give_up();
        }
    }

    fn begin(&mut self, target: &SocketAddrV4) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        if self.rst {
            sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(connect(&socket, target), Err(Errno::INPROGRESS));
        let place = EventData::new_u64(self.sockets.len() as u64);
        epoll::add(&self.epoll, &socket, place, EventFlags::OUT | EventFlags::ET).unwrap();
        self.ends.push_back((Instant::now() + LIMIT, self.sockets.len()));
        self.sockets.push(Some(socket));
        self.under_way += 1;
    }

    /// Until the next is given up; `None`: none is on the way.
    fn wait(&mut self) -> Option<Timespec> {
        while self.ends.front().is_some_and(|(_, place)| self.sockets[*place].is_none()) {
            self.ends.pop_front();
        }
        let (end, _) = self.ends.front()?;
        Some(end.saturating_duration_since(Instant::now()).try_into().unwrap())
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some((end, place)) = self.ends.front()
            && *end <= now
        {
            self.under_way -= usize::from(self.sockets[*place].take().is_some());
            self.ends.pop_front();
        }
    }
}
