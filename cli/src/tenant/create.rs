//! `sealane tenant create`: a tenant, with subnets of its own choice on its network `default`.

use std::io::Write;

use clap::Args;
use http::Method;
use intent::object::DEFAULT;
use intent::{Kind, Problem, UnknownFields, admit};
use serde_json::{Value, json};

use crate::client::{Ask, Client, ClientError, JSON, Place};
use crate::failure::Failure;
use crate::object::{text, title};
use crate::output;
use crate::settings::Settings;

/// Create a tenant
///
/// It has a network from the beginning, default, on which the endpoints of a namespace are that names no other: with these subnets,
/// or else with those of the server's settings. More networks are made with apply. If the network cannot be made, there is no
/// tenant afterwards either.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane tenant create acme                 its network default as the server's settings say
  sealane tenant create acme --subnet 10.40.0.0/16 --subnet fd00:40::/64")]
pub(super) struct Create {
    /// Its name: letters, digits and -, as in a name of the DNS
    #[arg(value_name = "NAME")]
    name: String,

    /// An address range of its network default, such as 10.40.0.0/16; may be repeated
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<String>,
}

impl Create {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let tenant = self.checked(Kind::Tenant, tenant(&self.name));
        let network = (!self.subnets.is_empty()).then(|| self.checked(Kind::VirtualNetwork, self.network()));
        let problems: Vec<Problem> = [Some(&tenant), network.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|checked| checked.as_ref().err())
            .flatten()
            .cloned()
            .collect();
        let (Ok(tenant), Ok(network)) = (tenant, network.transpose()) else {
            return Err(Failure::Documents { problems, outcome: "nothing was created".to_owned() });
        };
        let client = settings.client()?;
        let place = Place { tenant: Some(&self.name), namespace: None };
        let made = client.ask(&Ask::act(Method::POST, place.of_all(Kind::Tenant), Some((JSON, &tenant))))?;
        if let Some(network) = &network
            && let Err(error) = replace_network(&client, place, network)
        {
            self.take_back(&client, &made.value)?;
            return Err(error.into());
        }
        let mut out = output::screen();
        writeln!(out, "{} created", title(Kind::Tenant, &self.name))?;
        if network.is_some() {
            writeln!(out, "{} created", title(Kind::VirtualNetwork, DEFAULT))?;
        }
        Ok(())
    }

    /// A document with all defaults, or all its problems by the argument that they come from.
    fn checked(&self, kind: Kind, document: Value) -> Result<Value, Vec<Problem>> {
        let by_argument = |mut problem: Problem| {
            problem.path = match problem.path.strip_prefix("spec.subnets") {
                Some(rest) => format!("--subnet{}", rest.strip_suffix(".cidr").unwrap_or(rest)),
                None => "NAME".to_owned(),
            };
            problem
        };
        let admitted = admit(kind, document, UnknownFields::Refuse);
        admitted
            .map(|admitted| admitted.document)
            .map_err(|problems| problems.into_iter().map(by_argument).collect())
    }

    fn network(&self) -> Value {
        let known = Kind::VirtualNetwork.descriptor();
        let subnets: Vec<Value> = self.subnets.iter().map(|cidr| json!({ "cidr": cidr })).collect();
        json!({
            "apiVersion": known.api_version(), "kind": known.kind,
            "metadata": { "name": DEFAULT },
            "spec": { "subnets": subnets },
        })
    }

    /// Takes the tenant away that was made a moment ago: that one, and none that somebody has made since.
    fn take_back(&self, client: &Client, made: &Value) -> Result<(), ClientError> {
        let place = Place { tenant: Some(&self.name), namespace: None };
        let options = json!({ "preconditions": { "uid": text(made, &["metadata", "uid"]) } });
        let path = place.of(Kind::Tenant, &self.name);
        client.ask(&Ask::act(Method::DELETE, path, Some((JSON, &options)))).map(drop)
    }
}

/// Makes the network `default` anew: the subnets that a network has it keeps.
fn replace_network(client: &Client, place: Place<'_>, network: &Value) -> Result<(), ClientError> {
    let path = place.of(Kind::VirtualNetwork, DEFAULT);
    match client.ask(&Ask::act(Method::DELETE, path, None)) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    let path = place.of_all(Kind::VirtualNetwork);
    client.ask(&Ask::act(Method::POST, path, Some((JSON, network)))).map(drop)
}

/// A tenant's document.
fn tenant(name: &str) -> Value {
    let known = Kind::Tenant.descriptor();
    json!({ "apiVersion": known.api_version(), "kind": known.kind, "metadata": { "name": name } })
}
