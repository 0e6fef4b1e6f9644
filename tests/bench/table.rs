//! What was measured, as a table.

use std::fmt;
use std::time::Duration;

/// A figure with its unit.
#[derive(Debug, Clone, Copy)]
pub enum Figure {
    Time(Duration),
    PerSecond(f64),
    MiB(f64),
    /// Of one core.
    Percent(f64),
}

impl Figure {
    fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::PerSecond(n) | Self::MiB(n) | Self::Percent(n) => n,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Time(time) if time.as_millis() >= 100 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
            Self::Time(time) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
            Self::PerSecond(n) => format!("{n:.0}/s"),
            Self::MiB(n) => format!("{n:.1} MiB"),
            Self::Percent(n) => format!("{n:.2} %"),
        };
        f.pad(&text)
    }
}

/// What it should be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtMost(Figure),
    AtLeast(Figure),
    /// Of the floor.
    Share(f64),
    /// Not more than so many times the floor.
    Times(f64),
    /// Not more than the floor and this.
    Above(Duration),
}

/// One line.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    /// mailbell's; `None`: only the floor was measured.
    pub own: Option<Figure>,
    /// What a raw client reached in this run.
    pub floor: Option<Figure>,
    pub target: Option<Target>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.own?.number() / self.floor?.number())
    }

    fn reached(&self) -> Option<bool> {
        let own = self.own?.number();
        Some(match self.target? {
            Target::AtMost(most) => own <= most.number(),
            Target::AtLeast(least) => own >= least.number(),
            Target::Share(share) => self.ratio()? >= share,
            Target::Times(times) => self.ratio()? <= times,
            Target::Above(more) => own <= self.floor?.number() + more.as_secs_f64(),
        })
    }
}

/// All lines, and what went wrong.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Table {
    pub fn row(&mut self, what: impl Into<String>, own: Option<Figure>, floor: Option<Figure>, target: Option<Target>) {
        self.rows.push(Row { what: what.into(), own, floor, target });
    }

    /// How to read it.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something was lost or doubled.
    pub fn fault(&mut self, fault: impl Into<String>) {
        let fault = fault.into();
        eprintln!("FAULT: {fault}");
        self.faults.push(fault);
    }

    /// Nothing was.
    pub fn intact(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |figure: Option<Figure>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
        writeln!(f)?;
        let line = "-".repeat(112);
        writeln!(f, "{:<54}{:>12}{:>12}{:>9}{:>16}{:>9}", "", "mailbell", "floor", "ratio", "target", "reached")?;
        writeln!(f, "{line}")?;
        for row in &self.rows {
            let ratio = row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let target = match row.target {
                None => "-".to_owned(),
                Some(Target::AtMost(most)) => format!("<= {most}"),
                Some(Target::AtLeast(least)) => format!(">= {least}"),
                Some(Target::Share(share)) => format!(">= {share:.2} floor"),
                Some(Target::Times(times)) => format!("<= {times:.2} floor"),
                Some(Target::Above(more)) => format!("<= floor+{} ms", more.as_millis()),
            };
            let reached = row.reached().map_or("-", |reached| if reached { "yes" } else { "NO" });
            let (own, floor) = (text(row.own), text(row.floor));
            writeln!(f, "{:<54}{own:>12}{floor:>12}{ratio:>9}{target:>16}{reached:>9}", row.what)?;
        }
        writeln!(f, "{line}")?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        if self.intact() {
            writeln!(f, "Nothing was lost, nothing came twice.")?;
        }
        Ok(())
    }
}

/// Many measurements of one thing.
#[derive(Debug, Default, Clone)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that this share of all does not exceed.
    pub fn quantile(&self, share: f64) -> Figure {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        Figure::Time(sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default())
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
