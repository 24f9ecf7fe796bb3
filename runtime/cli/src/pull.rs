//! `smidgen pull`.

use crate::Outcome;
use crate::args::PullArgs;
use crate::progress::PullBar;
use smidgen_host::{Form, KNOWN_MODELS, find};
use std::io::{self, Write};

pub(crate) fn pull(args: &PullArgs) -> Outcome {
    let mut out = io::stdout().lock();
    if args.model.is_empty() {
        for model in KNOWN_MODELS {
            let place = find(model.name).map_or_else(|| "not pulled".into(), |path| path.display().to_string());
            writeln!(out, "{}\t{}\t{}\t{place}", model.name, model.file, model.licence)?;
        }
        #[cfg(feature = "hub")]
        for row in smidgen_host::hub::FRIENDLY {
            writeln!(out, "{}\t{}\t{}", row.name, row.means, row.dated)?;
        }
        return Ok(());
    }
    for model in &args.model {
        for path in paths(model, args)? {
            writeln!(out, "{}", path.display())?;
        }
    }
    Ok(())
}

/// The files of a model, which is pulled first if it is not there.
fn paths(model: &str, args: &PullArgs) -> Result<Vec<std::path::PathBuf>, smidgen_host::Error> {
    let form = if args.plain { Form::Plain } else { Form::Packed };
    #[cfg(feature = "hub")]
    if !KNOWN_MODELS.iter().any(|known| known.name.eq_ignore_ascii_case(model)) {
        let mut options = crate::open::hub_options();
        (options.form, options.context) = (form, args.ctx.map(usize::from));
        let entry = smidgen_host::hub::pull(model, &options, &mut PullBar::new())?;
        return Ok(entry.files.into_iter().map(|file| file.path).collect());
    }
    #[cfg(feature = "hub")]
    if crate::open::hub_options().access.offline && find(model).is_none() {
        return Err(smidgen_host::hub::HubError::Offline { url: model.to_owned() }.into());
    }
    Ok(vec![smidgen_host::pull(model, form, &mut PullBar::new())?])
}
