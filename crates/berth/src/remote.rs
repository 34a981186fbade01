//! The server that a command talks to.

use berth_client::{Choice, Client};
use berth_error::Report;

use crate::cli::ServerArgs;
use crate::paths::Paths;

impl ServerArgs {
    fn choice(&self) -> Choice {
        Choice {
            server: self.server.clone(),
            token: self.token.clone(),
        }
    }
}

/// A client of the server that flags, environment or this machine name.
pub(crate) fn connect(args: &ServerArgs, paths: &Paths) -> Result<Client, Report> {
    let server = args.choice().find(&paths.data)?;
    Ok(Client::new(server)?)
}
