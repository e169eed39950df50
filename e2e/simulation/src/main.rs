//! `albacore-simulation`: what simulations show, from the command line.

use albacore_simulation::{
    bed, contention,
    figures::Figures,
    gates, idle,
    memory::{self, Resident},
    rollout,
    scale::Scale,
    seeds,
};
use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Simulations of the whole controller.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Random wishes and random trouble: seeds, one after the other.
    Seeds {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: u64,
        /// Whether everything that happened is told.
        #[arg(long)]
        verbose: bool,
    },
    /// What many groups cost, and how long they take, under the buckets that AWS documents.
    Bench {
        /// Where the figures are written, as JSON.
        #[arg(long)]
        output: PathBuf,
        /// Numbers of groups.
        #[arg(long, value_delimiter = ',', default_values_t = [50, 300, 900])]
        groups: Vec<usize>,
    },
    /// Resident memory of the controller as it is shipped, alone in its process.
    Memory {
        /// The controller.
        #[arg(long)]
        binary: PathBuf,
        /// Where the figures are written, as JSON.
        #[arg(long)]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Seeds { from, count, verbose } => run_seeds(from..from + count, verbose),
        Command::Bench { output, groups } => bench(&groups).and_then(|rows| write_calls(&output, &rows)),
        Command::Memory { binary, output } => measure_memory(&binary, &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs seeds on all processors, each on one thread.
fn run_seeds(seeds: std::ops::Range<u64>, verbose: bool) -> Result<()> {
    if verbose {
        // Without the time of day, which is another one each time.
        tracing_subscriber::fmt()
            .without_time()
            .with_writer(std::io::stderr)
            .with_env_filter("albacore=debug")
            .init();
    }
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let lanes = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = seeds::run(seed);
                    if verbose {
                        println!("{}", outcome.story);
                        outcome.journal.iter().for_each(|call| println!("{}", bed::told(call)));
                    }
                    if let Some(broken) = outcome.broken {
                        println!("seed {seed}: {broken}\n  alone: {}", seeds::alone(seed));
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let count = seeds.end - seeds.start;
    println!("{} of {count} seeds hold", count - failed.len() as u64);
    ensure!(failed.is_empty(), "seeds {failed:?} do not hold");
    Ok(())
}

/// All figures of these numbers of groups.
fn bench(groups: &[usize]) -> Result<Vec<Figures>> {
    let mut rows = Vec::new();
    println!(
        "{:<66} {:>6} {:>6} {:>16} {:>9} {:>8} {:>8} {:>6}",
        "", "calls", "needed", "ALBC", "throttled", "seconds", "bound", "ratio"
    );
    for &groups in groups {
        rows.extend(paused()?.block_on(async {
            let mut scale = Scale::new(groups).await;
            let create = tell(scale.create().await);
            let [restart, new] = scale.restart().await.map(tell);
            let delete = tell(scale.delete().await);
            [create, restart, new, delete]
        }));
    }
    rows.extend(contend()?);
    rows.extend(paused()?.block_on(idle::day(300)).map(tell));
    Ok(rows)
}

/// What others do at the same time, in clusters of their own.
fn contend() -> Result<Vec<Figures>> {
    type Scenario = fn() -> Pin<Box<dyn Future<Output = Figures>>>;
    let scenarios: [Scenario; 11] = [
        || Box::pin(rollout::in_waves()),
        || Box::pin(rollout::one_by_one()),
        || Box::pin(rollout::everywhere()),
        || Box::pin(gates::in_waves_of(10, 80)),
        || Box::pin(gates::in_waves_of(1, 400)),
        || Box::pin(gates::side_by_side(40)),
        || Box::pin(gates::side_by_side(80)),
        || Box::pin(contention::neighbour(200)),
        || Box::pin(contention::controllers()),
        || Box::pin(contention::deletion(300)),
        || Box::pin(contention::namespaces(500)),
    ];
    let mut rows = Vec::new();
    for scenario in scenarios {
        rows.push(tell(paused()?.block_on(scenario())));
    }
    Ok(rows)
}

fn paused() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().start_paused(true).build()?)
}

fn tell(row: Figures) -> Figures {
    let albc = row.albc.map(|peer| format!("{} {}", peer.calls, peer.known));
    println!(
        "{:<66} {:>6} {:>6} {:>16} {:>9} {:>8.1} {:>8.1} {:>6.3}",
        row.name,
        row.calls,
        row.needed,
        albc.unwrap_or_default(),
        row.throttled,
        row.seconds,
        row.bound,
        row.ratio
    );
    let operations: Vec<String> = row
        .operations
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !operations.is_empty() {
        println!("    {}", operations.join(", "));
    }
    row
}

/// Measures, tells and writes resident memory, which must keep its limits.
fn measure_memory(binary: &Path, output: &Path) -> Result<()> {
    println!("{:<48} {:>9} {:>9} {:>9}  MiB", "", "at rest", "peak", "limit");
    let mut rows: Vec<Resident> = Vec::new();
    for load in memory::LOADS {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        for row in runtime.block_on(memory::measure(binary, load))? {
            let limit = row.limit.map(|limit| format!("{limit:.1}")).unwrap_or_default();
            println!("{:<48} {:>9.1} {:>9.1} {limit:>9}", row.name, row.rest, row.peak);
            rows.push(row);
        }
    }
    write(output, &rows)?;
    let over: Vec<&str> = rows
        .iter()
        .filter(|row| row.limit.is_some_and(|limit| row.peak > limit))
        .map(|row| row.name.as_str())
        .collect();
    ensure!(over.is_empty(), "over the limit: {over:?}");
    Ok(())
}

/// Writes figures of calls, every one of which must be there and hold.
fn write_calls(output: &Path, rows: &[Figures]) -> Result<()> {
    for row in rows {
        let there = [row.seconds, row.bound, row.ratio]
            .iter()
            .all(|figure| figure.is_finite());
        ensure!(there, "a figure of `{}` is missing: {row:?}", row.name);
    }
    write(output, rows)?;
    let over: Vec<&Figures> = rows.iter().filter(|row| !row.hold()).collect();
    ensure!(over.is_empty(), "more than may be: {over:#?}");
    Ok(())
}

/// Writes figures.
fn write(output: &Path, rows: &[impl Serialize]) -> Result<()> {
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let text = serde_json::to_string_pretty(rows)?;
    std::fs::write(output, text + "\n").with_context(|| output.display().to_string())
}
