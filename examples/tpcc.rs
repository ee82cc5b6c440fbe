//! TPC-C on an embedded database of three replicas: `cargo run --release --example tpcc -- --seconds 20`.
//!
//! The transactions, the data and the conditions of consistency are those of `tests/tpcc/workload/`; `docs/workloads.md` says what they are, and has figures of a
//! run. They are not comparable with published ones: there are no terminals that wait, no think times, and the scale is what one likes.

#![expect(clippy::disallowed_methods, reason = "an example lives in real time")]

#[path = "../tests/tpcc/drive.rs"]
mod drive;
#[path = "../tests/tpcc/workload/mod.rs"]
mod workload;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use drive::Tally;
use plimsoll::Plimsoll;
use plimsoll::client::staged::Staging;
use plimsoll::protocol::ReadMode;
use workload::Scale;

const USAGE: &str = "tpcc [--seconds 20] [--clients 16] [--warehouses 2] [--districts 10] [--customers 300] [--items 1000] [--orders 300] [--look-every-ms 4] [--seed 1]

  --seconds       how long clients call
  --clients       how many call at once, each as soon as it was answered
  --warehouses    and so on: how much there is; the standard has 10 districts, 3000 customers, 100000 items and 3000 orders
  --look-every-ms the time between two looks of a staged transaction whether it is its turn
  --seed          what data and transactions are drawn of";

struct Options {
    seconds: u64,
    clients: u64,
    look_every: Duration,
    seed: u64,
    scale: Scale,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            seconds: 20,
            clients: 16,
            look_every: Duration::from_millis(4),
            seed: 1,
            scale: Scale {
                warehouses: 2,
                customers: 300,
                items: 1_000,
                orders: 300,
                ..Scale::STANDARD
            },
        };
        while let Some(name) = arguments.next() {
            let text = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number: u32 = text.parse().map_err(|_| format!("{name} {text}: not a number"))?;
            let scale = &mut options.scale;
            match &name[..] {
                "--seconds" => options.seconds = u64::from(number),
                "--clients" => options.clients = u64::from(number),
                "--look-every-ms" => options.look_every = Duration::from_millis(u64::from(number)),
                "--seed" => options.seed = u64::from(number),
                "--warehouses" => scale.warehouses = number,
                "--districts" => scale.districts = number,
                "--customers" => scale.customers = number,
                "--items" => scale.items = number,
                "--orders" => scale.orders = number,
                _ => return Err(format!("{name} is no option")),
            }
        }
        let Scale {
            warehouses,
            districts,
            customers,
            items,
            orders,
        } = options.scale;
        if [warehouses, districts, customers, items].contains(&0) || orders > customers {
            return Err("there is one of each at least, and not more orders than customers".to_owned());
        }
        Ok(options)
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let Options {
        seconds,
        clients,
        look_every,
        seed,
        scale,
    } = options;
    let builder = Plimsoll::builder().replicas(3).deadline(Duration::from_secs(60));
    let database = drive::with_thunks(builder).open().await?;
    println!("{scale:?}, {clients} clients");
    let started = Instant::now();
    let loaded = drive::load(&database, &scale, seed).await?;
    println!("loaded in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let clients = (0..clients).map(|number| {
        let goes_on = move |_| Instant::now() < until;
        let staging = Staging {
            look_every,
            ..drive::staging(loaded)
        };
        let client = drive::client(database.clone(), scale, seed + 1 + number, staging, goes_on);
        tokio::spawn(client)
    });
    let clients: Vec<_> = clients.collect();
    let mut tally = Tally::default();
    for client in clients {
        tally.add(client.await?);
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("\n{tally}");
    println!(
        "{:.0} transactions a second, of which {:.0} new orders, for {seconds:.1} s; worst: {} runs of one transaction",
        tally.committed() as f64 / seconds,
        tally.kinds.get("new order").map_or(0, |kind| kind.latencies_us.len()) as f64 / seconds,
        tally.runs_max(),
    );
    let broken = drive::broken(&database, ReadMode::Strict).await?;
    database.shutdown().await;
    match broken.is_empty() {
        true => println!("every condition of consistency holds"),
        false => return Err(format!("{broken:#?}").into()),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
