//! The command line, nothing else.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use telestream::{
    api::{
        HumanDuration, crd_yaml,
        names::{self, Placement},
    },
    bot, config,
    controller::{self, ControllerSettings},
    ops::{
        env::{ConfigError, Environment},
        http::{self, Health},
        logging,
        metrics::Metrics,
        signals,
    },
    telegram::{MessageRef, Telegram},
    worker::{self, Engine, TransferRequest, transfer_once},
};

/// Moves files from Telegram into OCI Object Storage and hands out download links.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take files from a Telegram chat and bring back their links (in a cluster)
    Bot,
    /// Reconcile TransferJobs and run worker pods for them (in a cluster)
    Controller,
    /// Transfer what is assigned to this pod (in a cluster; started by the controller)
    Worker,
    /// Transfer one file here and print the result as JSON (no cluster needed)
    Transfer(TransferArgs),
    /// Print the TransferJob CustomResourceDefinition as YAML
    Crd,
}

#[derive(Args)]
struct TransferArgs {
    /// Chat that holds the message: a user's id, or -100... for a channel
    #[arg(long, allow_negative_numbers = true)]
    chat: i64,
    /// Number of the message in its chat
    #[arg(long)]
    message: i32,
    /// Name the file so instead of as in Telegram
    #[arg(long)]
    file_name: Option<String>,
    /// Bucket [default: $OCI_BUCKETNAME]
    #[arg(long)]
    bucket: Option<String>,
    /// Name of the object; if not given, OBJECT_PREFIX, chat, message and the file's name. Only
    /// without it is an upload resumed that was cut off
    #[arg(long)]
    object: Option<String>,
    /// How long the link lives, such as 7d or 12h
    #[arg(long, default_value = "7d")]
    link_ttl: HumanDuration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}

/// The controller tells by it what became of a worker.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let refused = error.downcast_ref::<worker::RunError>();
    if refused.is_some_and(worker::RunError::is_session_refused) {
        ExitCode::from(names::SESSION_REFUSED_EXIT_CODE)
    } else if error.is::<ConfigError>() {
        ExitCode::from(names::MISCONFIGURED_EXIT_CODE)
    } else {
        ExitCode::FAILURE
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let env = Environment::process();
    let logs = config::Logging::read(&env)?;
    logging::start(logs.format, &logs.filter);
    match command {
        Command::Bot => run_bot(&env).await,
        Command::Controller => run_controller(&env).await,
        Command::Worker => run_worker(&env).await,
        Command::Transfer(args) => run_transfer(&env, args).await,
        Command::Crd => {
            print!("{}", crd_yaml()?);
            Ok(())
        }
    }
}

async fn run_bot(env: &Environment) -> anyhow::Result<()> {
    let settings = config::bot(env)?;
    let client = kube::Client::try_default()
        .await
        .context("no way to the API server")?;
    let stop = signals::shutdown_token()?;
    let (health, metrics) = (Health::default(), Metrics::default());
    let serving = tokio::spawn(http::serve(
        config::http_address(env)?,
        health.clone(),
        metrics.clone(),
        stop.clone(),
    ));
    bot::run(settings, client, metrics, health, stop).await?;
    serving.await?.context("serving HTTP failed")
}

async fn run_controller(env: &Environment) -> anyhow::Result<()> {
    let config = config::Controller::read(env)?;
    let clean_up = config::clean_up(env).await?;
    let metrics = Metrics::default();
    let kubeconfig = kube::Config::infer()
        .await
        .context("no way to the API server")?;
    let client =
        controller::counted_client(kubeconfig, &metrics).context("no way to the API server")?;
    let owner = match &config.deployment {
        Some(deployment) => {
            controller::owner(client.clone(), &config.namespace, deployment).await?
        }
        None => None,
    };
    let factory = config.pod_factory(owner).await?;
    let stop = signals::shutdown_token()?;
    let health = Health::default();
    let serving = tokio::spawn(http::serve(
        config.http_address,
        health.clone(),
        metrics.clone(),
        stop.clone(),
    ));
    let settings = ControllerSettings {
        namespace: config.namespace,
        instance: config.instance,
        worker_selector: config.worker_selector,
        factory,
        pool: config.pool,
        clean_up,
        policy: config.policy,
        slot_ledger: config.slot_ledger,
        lease: config.lease,
        queue: config::queue(env)?,
    };
    controller::run(settings, client, metrics, health, stop).await?;
    serving.await?.context("serving HTTP failed")
}

async fn run_worker(env: &Environment) -> anyhow::Result<()> {
    let settings = config::worker(env).await?;
    let client = kube::Client::try_default()
        .await
        .context("no way to the API server")?;
    Ok(worker::run(settings, client, signals::shutdown_token()?).await?)
}

async fn run_transfer(env: &Environment, args: TransferArgs) -> anyhow::Result<()> {
    let account = config::account(env).await?;
    let storage = config::Storage::read(env).await?;
    let request = TransferRequest {
        message: MessageRef {
            chat_id: args.chat,
            message_id: args.message,
        },
        file_name: args.file_name,
        bucket: config::bucket_from_flag(args.bucket.as_deref(), &storage)?,
        placement: match args.object {
            Some(name) => Placement::Exact(name),
            None => names::folder_of_message(&storage.prefix, args.chat, args.message),
        },
        link_ttl: args.link_ttl,
    };
    let engine = Engine {
        telegram: Telegram::connect(account).await?,
        storage: storage.client,
        window: config::window(env)?,
    };
    let report = transfer_once(&engine, request, &signals::shutdown_token()?).await?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
