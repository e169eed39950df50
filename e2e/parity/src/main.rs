//! `albacore-parity CASES`: runs every recorded case in a folder, one line a case, and the differences.

use albacore_parity::{
    bed::Bed,
    case::Case,
    run,
    scope::Scope,
    swap::{self, Expected},
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What ALBC did with recorded manifests, compared with what albacore does with them.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Args {
    /// Folder of recorded cases.
    #[arg(default_value = "e2e/parity/cases")]
    cases: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// How many clusters run cases side by side.
    #[arg(long, default_value_t = 3)]
    lanes: usize,
    /// Run only this share of the cases; set for the clusters side by side.
    #[arg(long, hide = true)]
    lane: Option<usize>,
    /// What ALBC left is taken over, in place of the steps being repeated.
    #[arg(long)]
    swap: bool,
    /// Write what differs to e2e/parity/expected, as what albacore does on purpose: to be read before it is committed.
    #[arg(long)]
    accept: bool,
    /// Show every difference in full.
    #[arg(long)]
    verbose: bool,
}

/// Below this share of cases alike, the run has failed.
const ENOUGH: f64 = 0.95;

fn main() {
    match start() {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(1);
        }
    }
}

fn start() -> Result<i32> {
    let args = Args::parse();
    // `make parity` runs in the project's folder.
    let project = std::env::current_dir()?;
    let Some(lane) = args.lane else {
        return side_by_side(&args, &project);
    };
    // Packages and tools are fetched before the way out is closed.
    let interpreter = albacore_cluster::python(&project.join("e2e/parity/python/requirements.txt"))?;
    albacore_cluster::enter();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(one_lane(&args, &project, lane, &interpreter))
}

/// Starts the lanes and adds up what they print.
fn side_by_side(args: &Args, project: &Path) -> Result<i32> {
    let chosen = chosen(args, project)?;
    let lanes = args.lanes.clamp(1, chosen.len().max(1));
    let program = std::env::current_exe().context("cannot tell the path of this program")?;
    let started: Vec<_> = (0..lanes)
        .map(|lane| {
            Command::new(&program)
                .args(std::env::args_os().skip(1))
                .args(["--lane", &lane.to_string(), "--lanes", &lanes.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    let (mut alike, mut other, mut unexplained) = (0, 0, Vec::new());
    // What albacore does better shows when it acts; what it takes over it leaves alone.
    let explained = if args.swap { Vec::new() } else { explained(project)? };
    for child in started {
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{text}");
        let mut tells = false;
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["same" | "better", ..] => (alike, tells) = (alike + 1, false),
                ["DIFFERS" | "BROKEN", case, ..] => {
                    other += 1;
                    tells = !explained.contains(&(*case).to_owned());
                }
                _ => {}
            }
            if tells {
                unexplained.push(line.to_owned());
            }
        }
        if !output.status.success() {
            unexplained.push(format!("a cluster ended with {}", output.status));
        }
    }
    let share = f64::from(alike) / f64::from(alike + other).max(1.0);
    println!("{alike} of {} cases alike ({:.1} %)", alike + other, share * 100.0);
    if !unexplained.is_empty() {
        // Again, at the end, where somebody looks first.
        println!("not explained in docs/parity.md:\n{}", unexplained.join("\n"));
    }
    let passed = share >= ENOUGH && unexplained.is_empty() && alike + other == i32::try_from(chosen.len())?;
    println!(
        "test result: {}. {alike} passed; {other} failed",
        if passed { "ok" } else { "FAILED" }
    );
    Ok(i32::from(!passed))
}

/// Cases that `docs/parity.md` explains: those it names in backquotes.
fn explained(project: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(project.join("docs/parity.md")).context("docs/parity.md")?;
    Ok(text.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

fn chosen(args: &Args, project: &Path) -> Result<Vec<Case>> {
    let scope = Scope::read(&project.join("e2e/parity/scope.json"))?;
    let mut chosen = Vec::new();
    for case in Case::read_all(&args.cases, &project.join("e2e/parity/expected"))? {
        let wanted = args.only.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
        if wanted && scope.leaves_out(&case)?.is_none() {
            chosen.push(case);
        }
    }
    if chosen.is_empty() {
        bail!("no case in {} is in scope", args.cases.display());
    }
    Ok(chosen)
}

async fn one_lane(args: &Args, project: &Path, lane: usize, interpreter: &Path) -> Result<i32> {
    let binary = std::env::current_exe()?.with_file_name("albacore");
    let mut bed = Bed::start(interpreter, project, &binary).await?;
    let cases = chosen(args, project)?;
    bed.accept = args.accept.then(|| project.join("e2e/parity/expected"));
    let exceptions = Expected::read(&project.join("e2e/parity/swap.json"))?;
    for case in cases.iter().skip(lane).step_by(args.lanes) {
        let outcome = if args.swap {
            swap::run(&mut bed, case, &exceptions).await
        } else {
            run::run(&mut bed, case).await
        };
        let verdict = match (&outcome.broken, outcome.differences.is_empty()) {
            (Some(_), _) => "BROKEN ",
            (_, false) => "DIFFERS",
            _ if !outcome.own.is_empty() => "better ",
            _ => "same   ",
        };
        let calls: Vec<String> = outcome
            .calls
            .iter()
            .map(|(step, calls)| format!("{step} {calls}"))
            .collect();
        println!("{verdict} {:<28} calls: {}", case.name, calls.join(", "));
        let shown = if args.verbose { usize::MAX } else { 8 };
        for (part, difference) in outcome.differences.iter().take(shown) {
            println!("          {part}: {difference}");
        }
        if outcome.differences.len() > shown {
            println!("          … and {} more", outcome.differences.len() - shown);
        }
        if let Some(broken) = &outcome.broken {
            println!("          {broken}");
        }
        if verdict == "BROKEN " || args.verbose {
            println!("{}", bed.controller_log(&case.name));
        }
    }
    bed.stop().await;
    Ok(0)
}
