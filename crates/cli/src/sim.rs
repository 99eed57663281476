use crate::args::SimArgs;
use crate::output::Failure;
pub(crate) fn run(_: &SimArgs) -> Result<std::process::ExitCode, Failure> {
    Err(Failure::Run("not here yet".into()))
}
