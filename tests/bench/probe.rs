//! Port probes: how near a round comes to the least that it can cost, and to what others take for the same list.

mod field;
mod others;
mod scan;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use self::field::Field;
use self::others::{Blackbox, Tool};
use self::scan::Round;
use super::scale::Scale;
use super::table::{Figure, Table, Target, median};

/// What the issue of black holes is measured with: every twentieth of a thousand targets, and this time-out.
const THOUSAND: usize = 1000;
const EVERY: usize = 20;
const LIMIT: Duration = Duration::from_secs(3);
/// Connections at a time, as `mailbell check` makes them; of those that take a process for each, and of a driver.
const AT_ONCE: usize = 1000;
const PROCESSES: usize = 64;
const REQUESTS: usize = 128;

/// In this variable the program is told to be one of its own helpers.
const ACT: &str = "MAILBELL_BENCH_ACT";

/// Acts as a helper, where it is told to.
pub fn act() -> Option<ExitCode> {
    match std::env::var(ACT).ok()?.as_str() {
        "field" => field::act(),
        round => scan::act(round),
    }
    Some(ExitCode::SUCCESS)
}

/// What is probed, and how many of them answer.
#[derive(Debug, Clone)]
pub struct List {
    targets: Vec<SocketAddrV4>,
    holes: usize,
}

impl List {
    /// A thousand ports on each address: of this network nothing else is used.
    fn new(targets: usize, with_holes: bool) -> Self {
        let target = |n: usize| {
            SocketAddrV4::new(Ipv4Addr::new(127, 7, 0, (n / THOUSAND + 1) as u8), PORT + (n % THOUSAND) as u16)
        };
        Self { targets: (0..targets).map(target).collect(), holes: if with_holes { targets / EVERY } else { 0 } }
    }

    fn is_hole(&self, place: usize) -> bool {
        self.holes > 0 && place.is_multiple_of(EVERY)
    }

    fn open(&self) -> usize {
        self.targets.len() - self.holes
    }
}

const PORT: u16 = 20_000;

/// Seconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    fn wall(self) -> Figure {
        Figure::Time(Duration::from_secs_f64(self.wall))
    }

    fn cpu(self) -> Figure {
        Figure::Time(Duration::from_secs_f64(self.cpu))
    }
}

/// What each of them cost, in the middle of several runs.
struct Costs(BTreeMap<Tool, Cost>);

impl Costs {
    /// Runs all of them in turn, several times. One that finds something else than there is is a fault.
    async fn measure(list: &List, tools: &[Tool], runs: usize, table: &mut Table) -> Self {
        let field = Field::start(list);
        let mut all: BTreeMap<Tool, Vec<Cost>> = BTreeMap::new();
        let blackbox = tools.contains(&Tool::Blackbox).then(Blackbox::start);
        for _ in 0..runs {
            for tool in tools {
                let (cost, open) = match (tool, &blackbox) {
                    (Tool::Blackbox, Some(blackbox)) => blackbox.run(list).await,
                    _ => tool.run(list, &field),
                };
                if open != list.open() {
                    table.fault(format!("probe: {tool} found {open} of {} open", list.open()));
                }
                all.entry(*tool).or_default().push(cost);
            }
        }
        let middle = |costs: Vec<Cost>, of: fn(&Cost) -> f64| median(costs.iter().map(of).collect());
        let cost = |costs: Vec<Cost>| Cost { wall: middle(costs.clone(), |c| c.wall), cpu: middle(costs, |c| c.cpu) };
        Self(all.into_iter().map(|(tool, costs)| (tool, cost(costs))).collect())
    }

    fn of(&self, tool: Tool) -> Cost {
        self.0[&tool]
    }

    /// As lines, with their ratio to the bare scan.
    fn lines(&self, title: &str) -> String {
        let mut text = format!("Probe, {title:<44}{:>10}{:>12}{:>11}{:>11}", "wall", "CPU", "wall/bare", "CPU/bare");
        for (tool, cost) in &self.0 {
            let bare = self.of(tool.bare());
            let ratio = |own: f64, bare: f64| format!("{:.2}", own / bare);
            write!(
                text,
                "\n  {:<49}{:>10}{:>12}{:>11}{:>11}",
                tool.to_string(),
                cost.wall(),
                cost.cpu(),
                ratio(cost.wall, bare.wall),
                ratio(cost.cpu, bare.cpu)
            )
            .unwrap();
        }
        text
    }
}

pub async fn measure(scale: &Scale, table: &mut Table) {
    let tools: Vec<Tool> = Tool::ALL.into_iter().filter(|tool| tool.is_installed()).collect();
    live(&tools, scale, table).await;
    let tools: Vec<Tool> = tools.into_iter().filter(|tool| !tool.closes_by_fin()).collect();
    with_holes(&tools, scale, table).await;
    grow(scale, table).await;
    if let Some(missing) = Tool::ALL.into_iter().find(|tool| !tool.is_installed()) {
        table.note(format!("Probe: {missing} is not installed here; tests/run installs what this is set beside."));
    }
    table.note(
        "Probe: a round is what a running process takes; the other lines are processes from start to end, but for the exporter, of\n\
         which the requests' time counts and the CPU of its own. The listeners are another process, whose CPU is not counted.",
    );
}

/// All answer.
async fn live(tools: &[Tool], scale: &Scale, table: &mut Table) {
    let list = List::new(THOUSAND, false);
    let costs = Costs::measure(&list, tools, scale.rounds, table).await;
    let (round, bare) = (costs.of(Tool::Round(Round::Engine)), costs.of(Tool::Round(Round::Bare)));
    let most = Some(Target::AtMost(Figure::Time(Duration::from_millis(60))));
    table.row("1,000 live targets, a round: wall", Some(round.wall()), Some(bare.wall()), most);
    table.row("  processor time", Some(round.cpu()), Some(bare.cpu()), None);
    let (check, bare) = (costs.of(Tool::Check), costs.of(Tool::Bare));
    table.row("  mailbell check: wall", Some(check.wall()), Some(bare.wall()), most);
    table.row("  processor time", Some(check.cpu()), Some(bare.cpu()), None);
    if tools.contains(&Tool::Nmap) {
        let nmap = costs.of(Tool::Nmap).cpu();
        table.row("  processor time, beside nmap -sT", Some(check.cpu()), Some(nmap), Some(Target::Times(1.0)));
    }
    table.note(costs.lines("1,000 live targets"));
    let (rst, fin) = (left_waiting(Tool::Bare), left_waiting(Tool::BareFin));
    table.note(format!(
        "Probe: of 1,000 connections closed by RST {rst} of our ports are left in TIME_WAIT, by FIN {fin}."
    ));
}

/// Every twentieth says nothing.
async fn with_holes(tools: &[Tool], scale: &Scale, table: &mut Table) {
    let list = List::new(THOUSAND, true);
    let costs = Costs::measure(&list, tools, scale.runs, table).await;
    let most = Some(Target::AtMost(Figure::Time(Duration::from_millis(3100))));
    for (what, own, bare) in [
        ("1,000 targets, 50 black holes, 3 s: a round", Tool::Round(Round::Engine), Tool::Round(Round::Bare)),
        ("  mailbell check", Tool::Check, Tool::Bare),
    ] {
        table.row(what, Some(costs.of(own).wall()), Some(costs.of(bare).wall()), most);
    }
    table.note(costs.lines("1,000 targets, 50 of them black holes, 3 s"));
}

/// How the cost grows.
async fn grow(scale: &Scale, table: &mut Table) {
    let tools =
        [Round::Bare, Round::Engine].map(Tool::Round).into_iter().chain([Tool::Bare, Tool::Check]).collect::<Vec<_>>();
    for &targets in scale.targets {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        // The listeners, and what they accepted.
        if (targets + AT_ONCE + 100) as u64 > most {
            table.note(format!("Probe: {targets} targets take more than the {most} open files that are allowed here."));
            continue;
        }
        let costs = Costs::measure(&List::new(targets, false), &tools, scale.runs, table).await;
        for (what, own, bare) in [("a round", tools[1], tools[0]), ("mailbell check", Tool::Check, Tool::Bare)] {
            let (own, bare) = (costs.of(own), costs.of(bare));
            table.row(
                format!("{} live targets, {what}: wall", number(targets)),
                Some(own.wall()),
                Some(bare.wall()),
                None,
            );
            table.row("  processor time", Some(own.cpu()), Some(bare.cpu()), None);
        }
    }
}

/// How many of a thousand connections are in TIME_WAIT afterwards, on our side.
fn left_waiting(tool: Tool) -> usize {
    // At an address that no run of the last minute has left any at.
    let mut list = List::new(THOUSAND, false);
    let address = Ipv4Addr::new(127, 7, 1, (std::process::id() % 254 + 1) as u8);
    list.targets.iter_mut().for_each(|target| target.set_ip(address));
    let field = Field::start(&list);
    let before = time_wait(address);
    tool.run(&list, &field);
    time_wait(address) - before
}

/// Connections to this address in TIME_WAIT: proc_net_tcp, whose addresses are numbers of this machine's byte order.
fn time_wait(address: Ipv4Addr) -> usize {
    let there = format!("{:08X}:", u32::from_ne_bytes(address.octets()));
    let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let waits = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.starts_with(&there)) && fields.next() == Some("06")
    };
    tcp.lines().filter(waits).count()
}

/// As people write it.
fn number(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}
