//! Writes to an embedded database in a folder, and shows that neither memory nor the folder grows for ever.
//!
//! `cargo run --release --example churn -- --seconds 600`. Every thirty seconds one line: transactions so far and per second since the last
//! line, resident memory of the process, and bytes of the folder, of its log and of its versions. The folder is removed at the end, unless it was
//! named. Figures of a run stand in `docs/storage.md`.

#![expect(clippy::disallowed_methods, reason = "an example lives in real time")]

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll::Plimsoll;
use plimsoll::key::{Key, Value};
use plimsoll::thunk::{Increment, Put};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const USAGE: &str = "churn [--seconds 600] [--clients 64] [--rate 2000] [--keys 100000] [--value-bytes 100] [--every 30] [--folder PATH]

  --seconds      how long to write
  --clients      how many write at once
  --rate         transactions a second that all of them begin together; 0: as many as there can be
  --keys         how many keys there are; one transaction in ten adds to one of ten counters instead
  --value-bytes  bytes of each value
  --every        seconds between two lines
  --folder       where to keep the database; without it a folder that is removed at the end";

/// What the command line says.
#[derive(Clone, Debug)]
struct Options {
    seconds: u64,
    clients: u64,
    rate: u64,
    keys: u64,
    value_bytes: usize,
    every: u64,
    folder: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            seconds: 600,
            clients: 64,
            rate: 2_000,
            keys: 100_000,
            value_bytes: 100,
            every: 30,
            folder: None,
        };
        while let Some(name) = arguments.next() {
            let text = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                let number = text.parse::<u64>();
                number.map_err(|_| format!("{name} needs a number, and not {text:?}"))
            };
            match name.as_str() {
                "--seconds" => options.seconds = number()?,
                "--clients" => options.clients = number()?.max(1),
                "--rate" => options.rate = number()?,
                "--keys" => options.keys = number()?.max(1),
                "--value-bytes" => options.value_bytes = number()? as usize,
                "--every" => options.every = number()?.max(1),
                "--folder" => options.folder = Some(PathBuf::from(text)),
                _ => return Err(format!("there is no option {name}")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("{reason}\n\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let folder = options
        .folder
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("target/churn-{}", std::process::id())));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let result = runtime.block_on(churn(options, &folder));
    if options.folder.is_none() {
        fs::remove_dir_all(&folder)?;
    }
    result
}

async fn churn(options: &Options, folder: &Path) -> Result<(), Box<dyn Error>> {
    let database = Plimsoll::builder().replicas(1).folder(folder).open().await?;
    let begin = Instant::now();
    let end = begin + Duration::from_secs(options.seconds);
    let count = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..options.clients {
        let (database, options, count) = (database.clone(), options.clone(), Arc::clone(&count));
        clients.spawn(async move { write(&database, &options, number, end, &count).await });
    }
    println!("seconds transactions per-second resident-MiB folder-MiB log-MiB versions-MiB");
    let mut last = (begin, 0);
    let mut line = begin;
    while line < end {
        line = end.min(line + Duration::from_secs(options.every));
        tokio::time::sleep_until(line.into()).await;
        let (now, total) = (Instant::now(), count.load(Ordering::Relaxed));
        let sizes = Sizes::of(folder)?;
        println!(
            "{} {total} {:.0} {} {} {} {}",
            (now - begin).as_secs(),
            (total - last.1) as f64 / (now - last.0).as_secs_f64(),
            resident_bytes() >> 20,
            (sizes.log + sizes.versions + sizes.others) >> 20,
            sizes.log >> 20,
            sizes.versions >> 20,
        );
        last = (now, total);
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    database.shutdown().await;
    Ok(())
}

/// One client: one transaction after the other, not more than its part of the rate.
async fn write(
    database: &Plimsoll,
    options: &Options,
    number: u64,
    end: Instant,
    count: &AtomicU64,
) -> Result<(), plimsoll::runtime::SubmitError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(number);
    let begin = Instant::now();
    let mut next = 0;
    while Instant::now() < end {
        if options.rate > 0 {
            let due = Duration::from_secs_f64((next * options.clients + number) as f64 / options.rate as f64);
            tokio::time::sleep_until((begin + due).into()).await;
            next += 1;
        }
        if random.random_range(0..10) == 0 {
            let key = Key::new(format!("counter/{}", random.random_range(0..10)).into_bytes());
            database.submit(&Increment { key, amount: 1 }).await?;
        } else {
            let key = Key::new(format!("row/{:012}", random.random_range(0..options.keys)).into_bytes());
            let mut bytes = vec![0; options.value_bytes];
            random.fill_bytes(&mut bytes);
            let entries = vec![(key, Value::new(bytes))];
            database.submit(&Put { entries }).await?;
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Bytes that a folder takes.
#[derive(Default)]
struct Sizes {
    log: u64,
    versions: u64,
    others: u64,
}

impl Sizes {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut sizes = Self::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let inner = Self::of(&entry.path())?;
                sizes.log += inner.log;
                sizes.versions += inner.versions;
                sizes.others += inner.others;
                continue;
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let bytes = match entry.metadata() {
                Ok(found) => found.len(),
                // It was removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            match name.as_ref() {
                name if name.starts_with("log-") => sizes.log += bytes,
                name if name.starts_with("versions-") => sizes.versions += bytes,
                _ => sizes.others += bytes,
            }
        }
        Ok(sizes)
    }
}

/// Bytes that this process holds in memory; zero where that cannot be asked.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
}
