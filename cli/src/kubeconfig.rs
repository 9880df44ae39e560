//! What a kubeconfig says of the server: where it is, as whom it is asked, and about which tenant.

use std::path::Path;

use authority::{Access, Proof};
use stream::{Credentials, Passport, PassportError};

use crate::client::{Account, Address};
use crate::failure::Failure;

/// What a context says.
pub(crate) struct Found {
    pub(crate) server: Address,
    pub(crate) tenant: Option<String>,
    pub(crate) namespace: Option<String>,
}

/// Reads the current context of a file, or the one named.
pub(crate) fn read(path: &Path, context: Option<&str>) -> Result<Found, Failure> {
    let Access { server, bundle, proof, namespace } = Access::read(path, context)?;
    let wrong = |what: String, remedy: &str| {
        Failure::usage(format!("the kubeconfig {}: {what}", path.display()), remedy)
    };
    let (address, tenant) = match server.split_once("/clusters/") {
        Some((address, tenant)) => (address, Some(tenant.to_owned())),
        None => (server.as_str(), None),
    };
    let address: Address = address
        .parse()
        .map_err(|reason: String| wrong(reason, "write https://HOST:PORT/clusters/TENANT as its server"))?;
    let Address::Tls { host, port, .. } = address else {
        return Ok(Found { server: address, tenant, namespace });
    };
    let nobody = "it does not say whom to believe (certificate-authority-data)".to_owned();
    let bundle = bundle.ok_or_else(|| wrong(nobody, "put the server's root there: pki/ca.crt"))?;
    let unusable = |fault: PassportError| wrong(fault.to_string(), "have it made anew");
    let account = match proof {
        Proof::Nothing => Account::new(Credentials::anonymous(bundle).map_err(unusable)?, None),
        Proof::Bearer(token) => Account::new(Credentials::anonymous(bundle).map_err(unusable)?, Some(token)),
        Proof::Certificate(certificate, key) => {
            let passport = Passport { certificate: *certificate, key: *key, bundle };
            Account::new(Credentials::new(&passport).map_err(unusable)?, None)
        }
    };
    Ok(Found { server: Address::Tls { host, port, account: Some(account) }, tenant, namespace })
}
