//! The command line of the stand-ins.

mod cli;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use cli::chat::Chat;
use cli::say::Say;
use telestream_sim::bot_api::Privacy;
use telestream_sim::oci::Keeping;
use telestream_sim::telegram::CentreOptions;
use telestream_sim::telegram::ids::DcId;
use telestream_sim::{Options, Sim};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Stand-ins for Telegram and OCI Object Storage.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until told to stop. Prints one line of JSON with all addresses once ready.
    Serve(Serve),
    Chat(Chat),
    Say(Say),
}

#[derive(Args)]
struct Serve {
    /// Where sessions, messages and files are kept.
    #[arg(long)]
    data_dir: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// The IPv4 address that clients are told.
    #[arg(long, default_value = "127.0.0.1")]
    advertise: Ipv4Addr,
    /// The admin interface's port; 0 lets the kernel pick one.
    #[arg(long, default_value_t = 0)]
    admin_port: u16,
    /// The Bot API's port; 0 lets the kernel pick one.
    #[arg(long, default_value_t = 0)]
    bot_api_port: u16,
    /// Object Storage's port; 0 lets the kernel pick one.
    #[arg(long, default_value_t = 0)]
    oci_port: u16,
    /// Object Storage speaks TLS; its certificate is written to oci-certificate.pem in the data
    /// directory, for clients to trust.
    #[arg(long)]
    oci_tls: bool,
    /// Object Storage keeps checksums instead of bytes, for measurements; nothing can be read.
    #[arg(long)]
    oci_discard: bool,
    /// The data centre at which the accounts live.
    #[arg(long, default_value_t = 2)]
    home_dc: i32,
    /// A data centre, as ID, ID:PORT or `ID:PORT:MEDIA_PORT`; may be repeated. [default: 1 2 4]
    #[arg(long = "dc", value_parser = parse_centre)]
    dcs: Vec<CentreOptions>,
    /// The token with which the bot signs in.
    #[arg(long)]
    bot_token: Option<String>,
    /// The bot's username.
    #[arg(long)]
    bot_username: Option<String>,
    /// The bot reads all that is written in groups, not only what is meant for it.
    #[arg(long)]
    bot_reads_all: bool,
    /// The user's phone number.
    #[arg(long)]
    phone: Option<String>,
    /// The login code that is "sent" to the phone.
    #[arg(long)]
    login_code: Option<String>,
    /// The password of the user's two-step verification.
    #[arg(long)]
    password: Option<String>,
    /// For how many seconds a file reference serves.
    #[arg(long, default_value_t = 3600)]
    file_reference_ttl: u64,
}

fn parse_centre(text: &str) -> Result<CentreOptions, String> {
    let mut parts = text.split(':');
    let id = parts.next().unwrap_or_default().parse();
    let id = id.map_err(|_| format!("{text:?} does not begin with a number"))?;
    let mut port = || match parts.next() {
        None => Ok(0),
        Some(port) => port.parse().map_err(|_| format!("{port:?} is no port")),
    };
    let centre = CentreOptions {
        id: DcId(id),
        port: port()?,
        media_port: port()?,
    };
    match parts.next() {
        None => Ok(centre),
        Some(_) => Err(format!("{text:?} has more than three parts")),
    }
}

impl Serve {
    fn options(self) -> Options {
        let mut options = Options::in_dir(&self.data_dir);
        options.listen = self.listen;
        options.advertise = self.advertise;
        options.admin_port = self.admin_port;
        options.bot_api_port = self.bot_api_port;
        options.oci_port = self.oci_port;
        options.oci_certificate = self
            .oci_tls
            .then(|| self.data_dir.join("oci-certificate.pem"));
        if self.oci_discard {
            options.oci.keeping = Keeping::Checksums;
        }
        if let Some(username) = self.bot_username {
            options.bot_api.username = username;
        }
        if self.bot_reads_all {
            options.bot_api.privacy = Privacy::Off;
        }
        let telegram = &mut options.telegram;
        telegram.home = DcId(self.home_dc);
        if !self.dcs.is_empty() {
            telegram.centres = self.dcs;
        }
        if let Some(bot_token) = self.bot_token {
            telegram.bot_token = bot_token;
        }
        if let Some(phone) = self.phone {
            telegram.phone = phone;
        }
        if let Some(login_code) = self.login_code {
            telegram.login_code = login_code;
        }
        telegram.password = self.password;
        telegram.file_reference_ttl = Duration::from_secs(self.file_reference_ttl);
        options
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let done = match Cli::parse().command {
        Command::Serve(serve) => return serve.run().await,
        Command::Chat(chat) => chat.run().await,
        Command::Say(say) => say.run().await,
    };
    if let Err(error) = &done {
        eprintln!("telestream-sim: {error:#}");
    }
    // Somebody may still be about to type, which nothing else ends.
    std::process::exit(i32::from(done.is_err()))
}

impl Serve {
    async fn run(self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
        // Asked for before anything is announced, so that no signal can come too early.
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let sim = Sim::start(self.options()).await?;
        announce(&sim)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sim.stop().await;
        Ok(())
    }
}

/// One line on stdout: everything is ready, and this is where.
fn announce(sim: &Sim) -> anyhow::Result<()> {
    let line = serde_json::json!({
        "admin": format!("http://{}", sim.admin_address()),
        "oci": sim.oci_url(),
        "botApi": sim.bot().url(),
        "telegram": {
            "homeDc": sim.telegram().home(),
            "dcs": sim.telegram().addresses(),
        },
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").context("cannot write to stdout")?;
    stdout.flush().context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_centre_is_given_by_number_and_ports() {
        let centre = |id, port, media_port| {
            Ok(CentreOptions {
                id: DcId(id),
                port,
                media_port,
            })
        };
        assert_eq!(parse_centre("2"), centre(2, 0, 0));
        assert_eq!(parse_centre("2:4431"), centre(2, 4431, 0));
        assert_eq!(parse_centre("2:4431:4432"), centre(2, 4431, 4432));
        for wrong in ["", "x", "2:70000", "2:1:2:3"] {
            assert!(parse_centre(wrong).is_err(), "{wrong:?}");
        }
    }
}
