//! The project's own build command, before bundling.

use berth_config::CustomBuild;
use tokio::process::Command;

use super::BundleError;

pub(super) async fn run(build: &CustomBuild) -> Result<(), BundleError> {
    let error = |status: String, output: String| BundleError::Command {
        command: build.command.clone(),
        status,
        output,
    };
    let output = Command::new("sh")
        .arg("-c")
        // Both streams in one, in the order in which they were written.
        .arg(format!("exec 2>&1\n{}", build.command))
        .current_dir(&build.cwd)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| error(source.to_string(), String::new()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    Err(error(output.status.to_string(), text))
}
