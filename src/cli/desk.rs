//! Runs `mailbell queue`, `quarantine`, `explain`, `resolve`, `archive` and `token` at the desk.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::queue::Failure;
use super::{archive, explain, quarantine, queue, resolve, token};
use crate::app::exit::{EX_CONFIG, Exit};
use crate::queue::{Desk, Settings};
use crate::{app, config};

/// `mailbell queue`.
pub fn queue(args: &queue::Args) -> ExitCode {
    at_desk(args.desk.config.as_deref(), async |desk| {
        let mut out = io::stdout().lock();
        queue::run(args, &*desk, &mut out, &mut io::stderr()).await?;
        Ok(out.flush()?)
    })
}

/// `mailbell quarantine`.
pub fn quarantine(args: &quarantine::Args) -> ExitCode {
    at_desk(args.desk.config.as_deref(), async |desk| {
        let mut out = io::stdout().lock();
        quarantine::run(args, &*desk, &mut out, &mut io::stderr()).await?;
        Ok(out.flush()?)
    })
}

/// `mailbell explain`.
pub fn explain(args: &explain::Args) -> ExitCode {
    at_store(args.desk.config.as_deref(), async |settings, file| {
        let (desk, office) = app::office(settings, file).await?;
        let known = match (&args.recipient, office) {
            (Some(name), Ok(office)) => office.knows(name).await?,
            (Some(name), Err(_)) => {
                eprintln!(
                    "the config has errors (mailbell config check): whether it has a recipient {name} is not known"
                );
                true
            }
            (None, _) => true,
        };
        let mut out = io::stdout().lock();
        explain::run(args, &*desk, known, &mut out).await?;
        Ok(out.flush()?)
    })
}

/// `mailbell resolve`.
pub fn resolve(args: &resolve::Args) -> ExitCode {
    at_store(args.desk.config.as_deref(), async |settings, file| {
        let office = app::office(settings, file).await?.1.map_err(|exit| match exit {
            Exit::Store(err) => err.into(),
            Exit::Config(what) | Exit::Internal(what) => Failure::Config(what),
        })?;
        let mut out = io::stdout().lock();
        resolve::run(args, &*office, &mut out, &mut io::stderr()).await?;
        Ok(out.flush()?)
    })
}

/// `mailbell archive`.
pub fn archive(args: &archive::Args) -> ExitCode {
    at_store(args.desk.config.as_deref(), async |settings, _| {
        let archive = app::archive(settings).await?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        archive::run(args, &*archive, &mut out).await?;
        Ok(out.flush()?)
    })
}

/// `mailbell token`.
pub fn token(args: &token::Args) -> ExitCode {
    at_store(args.desk.config.as_deref(), async |settings, _| {
        let tokens = app::tokens(settings).await?;
        let mut out = io::stdout().lock();
        token::run(args, &*tokens, &mut out, &mut io::stderr()).await?;
        Ok(out.flush()?)
    })
}

fn at_desk(named: Option<&Path>, run: impl AsyncFnOnce(Arc<dyn Desk>) -> Result<(), Failure>) -> ExitCode {
    at_store(named, async |settings, _| run(app::desk(settings).await?).await)
}

fn at_store(named: Option<&Path>, run: impl AsyncFnOnce(&Settings, &Path) -> Result<(), Failure>) -> ExitCode {
    let file = config::path(named, |name| std::env::var_os(name));
    let settings = match config::load_store(&file) {
        Ok(settings) => settings,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(&settings, &file)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough (`| head`).
        Err(Failure::Output(err)) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mailbell: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
