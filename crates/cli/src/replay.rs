use crate::args::ReplayArgs;
use crate::output::Failure;
pub(crate) fn run(_: &ReplayArgs) -> Result<std::process::ExitCode, Failure> {
    Err(Failure::Run("not here yet".into()))
}
