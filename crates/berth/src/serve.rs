//! `berth serve`: deployed Workers, each with a workerd of its own, behind one gateway.
//!
//! | module | its job |
//! |---|---|
//! | [`server`] | the parts, and their order of start and end |
//! | [`apps`] | which Workers are to run: records compared with what runs |
//! | [`app`] | one Worker: its workerd, replaced when its record changes |
//! | [`links`] | what an app has of other records: queues, callers and callees, secrets of stores |
//! | [`reach`] | where an app's workerd is now, for those that call it past the gateway |
//! | [`peers`] | calls between Workers |
//! | [`plane`] | the workerd that keeps KV, D1 and queues of all Workers |
//! | [`deliver`] | messages of queues, from there to the Workers |
//! | [`trial`] | whether a Worker starts, before it is deployed |
//! | [`unix`] | one request over a Unix socket |
//! | [`process`] | its workerd, and how another one takes over |
//! | [`assets`] | static assets as directories, which workerd serves |
//! | [`moves`] | objects of a class that was transferred to another Worker |
//! | [`health`] | how each of them does |
//! | [`pause`] | standing one still, for a backup |
//! | [`host`] | the machine as the API shows it: status, commands in containers, backups |
//! | [`meters`] | counts what Workers and containers use |
//! | [`figures`] | what grows of that, for Prometheus |
//! | [`metrics`] | the endpoint for Prometheus |
//! | [`usage`] | amounts and what they cost, for the API |
//! | [`du`] | room on disks |
//! | [`containers`] | images and limits of container classes, and what runs of them |
//! | [`certificate`] | the registry's own |
//! | [`crash`] | steps at which tests kill the server |
//! | [`r2`] | buckets for Workers, and the S3 endpoint |
//! | [`registry`] | where their images are pushed |
//! | [`rollouts`] | changes of those reach the instances in steps |
//! | [`certificates`] | certificates of the gateway, kept new |
//! | [`snapshots`] | snapshots end 30 days after their last use |
//! | [`switch`] | a Worker and its containers that change at the same moment |
//! | [`sizes`] | sizes that objects choose for their containers |
//! | [`settings`] | `berth.toml` and the command line |
//! | [`others`] | credentials for the registries of others |
//! | [`project`] | a deployed version as workerd's configuration needs it |
//! | [`watch`] | logs, traces and events: who said and did what |
//! | [`admin`] | the token of this machine's administrator |

pub(crate) mod admin;
mod app;
mod apps;
mod assets;
pub(crate) mod certificate;
mod certificates;
mod containers;
mod crash;
mod deliver;
mod du;
mod figures;
mod health;
mod host;
mod links;
mod meters;
mod metrics;
mod moves;
mod others;
mod pause;
mod peers;
mod plane;
mod process;
mod project;
mod r2;
mod reach;
mod registry;
mod rollouts;
pub(crate) mod server;
pub(crate) mod settings;
mod sizes;
mod snapshots;
mod ssh;
mod stored;
mod switch;
mod trial;
mod unix;
mod usage;
mod watch;
