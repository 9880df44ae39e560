//! kubeconfig: where the server is, whom to believe, and who one is, in the file that `kubectl` and every Kubernetes client read.
//!
//! Promises: what is written holds everything in itself and is readable by its owner alone; of what others wrote, the current
//! context is read with the fields that Sealane's tools use, files beside it included, and a field that they cannot honour (such
//! as a program to run for a token) is refused and not passed over.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::{Bundle, BundleError, Certificate, Key, KeyError, Request};
use serde_json::{Value, json};

use crate::file::{self, FileError, Readers};
use crate::root::ADMIN_LIFE;
use crate::{Authority, Subject};

/// A kubeconfig to be written: one server, one caller, a context for each tenant.
#[derive(Debug)]
pub struct Kubeconfig<'a> {
    /// `https://HOST:PORT`.
    pub server: &'a str,
    /// Whom to believe.
    pub bundle: &'a Bundle,
    /// The caller's name in the file.
    pub user: &'a str,
    /// How the caller proves who they are.
    pub proof: Proof,
    /// The tenants, by name; the first is the current context.
    pub tenants: &'a [&'a str],
}

/// How a caller proves who they are.
#[derive(Debug)]
pub enum Proof {
    /// By nothing.
    Nothing,
    /// By a certificate and its key.
    Certificate(Box<Certificate>, Box<Key>),
    /// By a bearer token.
    Bearer(String),
}

/// What a kubeconfig's current context says.
#[derive(Debug)]
pub struct Access {
    /// The server's URL, with the tenant's path.
    pub server: String,
    /// Whom to believe; `None`: the file names nobody.
    pub bundle: Option<Bundle>,
    /// How to prove who one is.
    pub proof: Proof,
    /// The namespace to use; `None`: `default`.
    pub namespace: Option<String>,
}

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such file.
    #[error("there is no {}: `sealane server` writes its admin's when it starts; or name another with KUBECONFIG", .0.display())]
    Absent(PathBuf),
    /// It is no YAML.
    #[error("read the kubeconfig {}:\n  {}", path.display(), problems.join("\n  "))]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// All that is wrong.
        problems: Vec<String>,
    },
    /// Something in it is missing or wrong.
    #[error("the kubeconfig {}: {field} {reason} — {remedy}", path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field: `users[admin].client-key-data`.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// Writes the admin's kubeconfig, if there is none that is good for a while with this root, server and tenants; answers whether it
/// was written.
///
/// # Errors
/// The file cannot be read or written. One that holds something else is replaced: the file is the server's own.
pub fn admin(
    authority: &Authority,
    path: &Path,
    server: &str,
    tenants: &[&str],
    now: SystemTime,
) -> Result<bool, FileError> {
    if file::read(path)?.is_some_and(|text| is_good(&text, authority, server, tenants, now)) {
        return Ok(false);
    }
    let key = Key::generate();
    let request = Request::read(&key.request()).expect("what was asked here is granted");
    let certificate = authority
        .certify(&Subject::admin(), &request, ADMIN_LIFE, now)
        .expect("the admin's life is one that is given");
    let proof = Proof::Certificate(Box::new(certificate), Box::new(key));
    Kubeconfig { server, bundle: authority.bundle(), user: "admin", proof, tenants }.write(path)?;
    Ok(true)
}

impl Kubeconfig<'_> {
    /// The file's text: YAML that is JSON too, as every reader takes it.
    pub fn text(&self) -> String {
        let authorities = STANDARD.encode(self.bundle.pem());
        let server = self.server.trim_end_matches('/');
        let clusters: Vec<Value> = self.tenants.iter().map(|tenant| json!({
            "name": name(tenant),
            "cluster": { "server": format!("{server}/clusters/{tenant}"), "certificate-authority-data": authorities },
        })).collect();
        let contexts: Vec<Value> = self
            .tenants
            .iter()
            .map(|tenant| {
                json!({
                    "name": name(tenant),
                    "context": { "cluster": name(tenant), "user": self.user, "namespace": "default" },
                })
            })
            .collect();
        let user = match &self.proof {
            Proof::Nothing => json!({}),
            Proof::Certificate(certificate, key) => json!({
                "client-certificate-data": STANDARD.encode(certificate.pem()),
                "client-key-data": STANDARD.encode(key.pem()),
            }),
            Proof::Bearer(token) => json!({ "token": token }),
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": clusters,
            "contexts": contexts,
            "current-context": self.tenants.first().map_or_else(String::new, |tenant| name(tenant)),
            "users": [{ "name": self.user, "user": user }],
        });
        serde_json::to_string_pretty(&config).expect("a kubeconfig has string keys") + "\n"
    }

    /// Puts the text into a file that its owner alone can read. Errors: [`FileError`].
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        file::publish(path, &self.text(), Readers::Nobody)
    }
}

impl Access {
    /// Reads the current context of a file, or the one named.
    ///
    /// # Errors
    /// Each variant of [`KubeconfigError`].
    pub fn read(path: &Path, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let text = file::read(path)?.ok_or_else(|| KubeconfigError::Absent(path.to_owned()))?;
        Self::parse(&text, path, context)
    }

    /// The same of a text; `path` says which file it came from, and where files that it names lie beside.
    ///
    /// # Errors
    /// Each variant of [`KubeconfigError`] but `Absent`.
    pub fn parse(text: &str, path: &Path, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let documents = intent::manifest::read(text, &path.display().to_string()).map_err(|problems| {
            let problems = problems.iter().map(intent::Problem::message).collect();
            KubeconfigError::Syntax { path: path.to_owned(), problems }
        })?;
        let whole = documents.first().map_or(&Value::Null, |document| &document.value);
        let reader = Reader { path };
        let current = match context {
            Some(context) => context,
            None => reader.text(whole, "", "current-context")?.filter(|name| !name.is_empty()).ok_or_else(
                || reader.wrong("current-context", "is missing", "kubectl config use-context NAME sets it"),
            )?,
        };
        let context = reader.entry(whole, "contexts", "context", current)?;
        let part = |field| {
            reader.text(context.value, &context.name, field)?.ok_or_else(|| {
                reader.wrong(&format!("{}.{field}", context.name), "is missing", "name one of the file's")
            })
        };
        let cluster = reader.entry(whole, "clusters", "cluster", part("cluster")?)?;
        let proof = match reader.text(context.value, &context.name, "user")? {
            Some(user) => reader.proof(&reader.entry(whole, "users", "user", user)?)?,
            None => Proof::Nothing,
        };
        reader.refuse(&cluster, &["insecure-skip-tls-verify", "proxy-url", "tls-server-name"])?;
        let server = reader.text(cluster.value, &cluster.name, "server")?.ok_or_else(|| {
            reader.wrong(&format!("{}.server", cluster.name), "is missing", "write https://HOST:PORT")
        })?;
        let bundle = reader.blob(&cluster, "certificate-authority")?;
        let unreadable = |fault: BundleError| {
            let field = format!("{}.certificate-authority", cluster.name);
            reader.wrong(
                &field,
                &told(&fault),
                "put the server's root there: it is the file pki/ca.crt of the server",
            )
        };
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            bundle: bundle.map(|text| Bundle::read(&text)).transpose().map_err(unreadable)?,
            proof,
            namespace: reader.text(context.value, &context.name, "namespace")?.map(str::to_owned),
        })
    }
}

/// Finds its way in one file, and says where something is wrong.
struct Reader<'a> {
    path: &'a Path,
}

/// A named entry of one of the lists.
struct Entry<'a> {
    value: &'a Value,
    name: String,
}

impl Reader<'_> {
    fn entry<'a>(
        &self,
        whole: &'a Value,
        list: &str,
        kind: &str,
        name: &str,
    ) -> Result<Entry<'a>, KubeconfigError> {
        let entries = whole.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(name);
        let place = format!("{list}[{name}]");
        match entries.iter().find(named).map(|entry| entry.get(kind).unwrap_or(&Value::Null)) {
            Some(value @ (Value::Object(_) | Value::Null)) => Ok(Entry { value, name: place }),
            Some(_) => Err(self.wrong(&place, "is no mapping", "write its fields below its name")),
            None => Err(self.wrong(
                &place,
                "is missing",
                "choose one of the file's: kubectl config get-contexts lists them",
            )),
        }
    }

    fn text<'a>(
        &self,
        value: &'a Value,
        place: &str,
        field: &str,
    ) -> Result<Option<&'a str>, KubeconfigError> {
        match value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => {
                let place = if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
                Err(self.wrong(&place, "is no text", "put it in quotes"))
            }
        }
    }

    /// The field `NAME-data` in base64, or the file that `NAME` names.
    fn blob(&self, entry: &Entry<'_>, field: &str) -> Result<Option<String>, KubeconfigError> {
        let data = format!("{field}-data");
        if let Some(text) = self.text(entry.value, &entry.name, &data)? {
            let place = format!("{}.{data}", entry.name);
            let bytes = STANDARD.decode(text.trim()).map_err(|fault| {
                self.wrong(&place, &format!("is no base64 ({fault})"), "base64 -w0 FILE writes it")
            })?;
            let text = String::from_utf8(bytes)
                .map_err(|_| self.wrong(&place, "holds no PEM", "base64 -w0 FILE writes it"))?;
            return Ok(Some(text));
        }
        let Some(name) = self.text(entry.value, &entry.name, field)? else { return Ok(None) };
        let file = self.path.parent().unwrap_or(Path::new(".")).join(name);
        let missing = || {
            let reason = format!("names {}, and there is no such file", file.display());
            self.wrong(&format!("{}.{field}", entry.name), &reason, "put it there, or correct the name")
        };
        file::read(&file)?.map_or_else(|| Err(missing()), |text| Ok(Some(text)))
    }

    fn proof(&self, user: &Entry<'_>) -> Result<Proof, KubeconfigError> {
        self.refuse(user, &["exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups"])?;
        if let Some(token) = self.text(user.value, &user.name, "token")? {
            return Ok(Proof::Bearer(token.trim().to_owned()));
        }
        if let Some(file) = self.text(user.value, &user.name, "tokenFile")? {
            let file = self.path.parent().unwrap_or(Path::new(".")).join(file);
            let text = file::read(&file)?.ok_or(KubeconfigError::Absent(file))?;
            return Ok(Proof::Bearer(text.trim().to_owned()));
        }
        match (self.blob(user, "client-certificate")?, self.blob(user, "client-key")?) {
            (None, None) => Ok(Proof::Nothing),
            (Some(certificate), Some(key)) => {
                let bad_certificate = |fault| {
                    self.wrong(
                        &format!("{}.client-certificate", user.name),
                        &told(&fault),
                        "have it made anew",
                    )
                };
                let bad_key = |fault: KeyError| {
                    self.wrong(&format!("{}.client-key", user.name), &told(&fault), "have it made anew")
                };
                let certificate = Certificate::read(&certificate).map_err(bad_certificate)?;
                let key = Key::read(&key).map_err(bad_key)?;
                if certificate.public != key.public() {
                    let place = format!("{}.client-key", user.name);
                    return Err(self.wrong(
                        &place,
                        "is not the key of its certificate",
                        "put the pair there that belongs together",
                    ));
                }
                Ok(Proof::Certificate(Box::new(certificate), Box::new(key)))
            }
            _ => Err(self.wrong(
                &user.name,
                "has a certificate without its key, or a key without its certificate",
                "add the other",
            )),
        }
    }

    fn refuse(&self, entry: &Entry<'_>, fields: &[&str]) -> Result<(), KubeconfigError> {
        let set = |field: &&&str| {
            !matches!(entry.value.get(**field), None | Some(Value::Null | Value::Bool(false)))
        };
        match fields.iter().find(set) {
            Some(field) => Err(self.wrong(
                &format!("{}.{field}", entry.name),
                "is not supported here",
                "use a token or a client certificate, and the server's root in certificate-authority-data",
            )),
            None => Ok(()),
        }
    }

    fn wrong(&self, field: &str, reason: &str, remedy: &'static str) -> KubeconfigError {
        KubeconfigError::Field {
            path: self.path.to_owned(),
            field: field.to_owned(),
            reason: reason.to_owned(),
            remedy,
        }
    }
}

fn is_good(text: &str, authority: &Authority, server: &str, tenants: &[&str], now: SystemTime) -> bool {
    let Ok(access) = Access::parse(text, Path::new("admin"), None) else { return false };
    let Proof::Certificate(certificate, key) = access.proof else { return false };
    let fresh = now >= certificate.validity.from && now + ADMIN_LIFE / 3 < certificate.validity.until;
    let kept = Kubeconfig {
        server,
        bundle: authority.bundle(),
        user: "admin",
        proof: Proof::Certificate(certificate, key),
        tenants,
    };
    fresh && kept.text() == text
}

fn name(tenant: &str) -> String {
    format!("sealane-{tenant}")
}

fn told(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
