//! The language of scenarios: one command a line, `#` for comments, `=>` for what is expected.
//!
//! ```text
//! install SET [home=SITE] [covers=SITE] [until=DAY] [maintained=DAY] FEATURE=UNITS… [| SET …]
//! node NAME SITE                     a new member, started
//! twin NAME OF                       a second process under the node id of OF
//! crash NAME      start NAME         its lock proves the old process gone
//! start NAME unproven                nothing proves it
//! cut NAME        heal NAME          nothing is delivered from it and to it
//! wall NAME +60s                     its wall clock jumps
//! drain NAME
//! day DAY                            the leader's calendar
//! wait 12s                           or 300ms
//! checkout ENGINE NODE FEATURE=UNITS… [wait=5s] [id=7] [build=DAY]      E1..E9: nine engines
//! renew ENGINE NODE [age=31s] [forged]      checkin ENGINE NODE
//! pools      desk NAME      events   (new ones)
//! ```

use super::world::{Item, World};

/// Plays a scenario and returns its text with what really happened.
pub(crate) fn play(name: &str, text: &str) -> String {
    let mut world = World::new();
    let mut played = String::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("=>") {
            continue;
        }
        played.push_str(line);
        played.push('\n');
        let command = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        run(&mut world, &words).unwrap_or_else(|why| panic!("{name}:{}: {why}: {line}", index + 1));
        for happened in world.take_output() {
            played.push_str("=> ");
            played.push_str(&happened);
            played.push('\n');
        }
    }
    played
}

fn run(world: &mut World, words: &[&str]) -> Result<(), String> {
    match *words {
        ["install", ref sets @ ..] => install(world, sets)?,
        ["node", name, site] => world.add_node(name, site),
        ["twin", name, of] => world.add_twin(name, of),
        ["crash", name] => world.crash(name),
        ["start", name] => world.start(name, true),
        ["start", name, "unproven"] => world.start(name, false),
        ["cut", name] => world.set_cut(name, true),
        ["heal", name] => world.set_cut(name, false),
        ["wall", name, by] => world.jump_wall(name, duration(by.trim_start_matches('+'))?),
        ["drain", name] => world.drain(name),
        ["retire", name] => world.retire(name),
        ["fence", name] => world.fence(name, false),
        ["fence", name, "off"] => world.fence(name, true),
        ["unfence", name] => world.unfence(name),
        ["day", day] => world.set_day(day),
        ["wait", time] => world.run_for(duration(time)?),
        ["checkout", engines, node, ref rest @ ..] => {
            let item = item(rest)?;
            for engine in expand(engines)? {
                world.checkout(&engine, node, &item);
            }
        }
        ["renew", engines, node, ref rest @ ..] => {
            let age_ms = option(rest, "age").map(duration).transpose()?;
            for engine in expand(engines)? {
                world.renew(&engine, node, age_ms, rest.contains(&"forged"));
            }
        }
        ["checkin", engines, node] => {
            for engine in expand(engines)? {
                world.checkin(&engine, node);
            }
        }
        ["pools"] => world.show_pools(),
        ["desk", name] => world.show_desk(name),
        ["events"] => world.show_events(),
        _ => return Err("not a command".into()),
    }
    world.settle();
    Ok(())
}

fn install(world: &mut World, words: &[&str]) -> Result<(), String> {
    let mut sets = Vec::new();
    for set in words.split(|word| *word == "|") {
        let [name, rest @ ..] = set else { return Err("a set needs a name".into()) };
        let is_option = |name: &str| ["home", "covers", "until", "maintained"].contains(&name);
        let features = rest
            .iter()
            .filter_map(|word| word.split_once('='))
            .filter(|(name, _)| !is_option(name))
            .map(|(feature, units)| Ok((feature, number(units)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let mut made = super::world::license_set(name, &features);
        if let Some(home) = option(rest, "home") {
            made.home = Some(home.parse().map_err(|error| said(&error))?);
        }
        if let Some(site) = option(rest, "covers") {
            made.kind = leasehold_core::entitlement::SetKind::Backup;
            made.covers = vec![site.parse().map_err(|error| said(&error))?];
        }
        if let Some(day) = option(rest, "until") {
            made.contract_end = day.parse().map_err(|error| said(&error))?;
        }
        if let Some(day) = option(rest, "maintained") {
            made.maintenance_until = day.parse().map_err(|error| said(&error))?;
        }
        sets.push(made);
    }
    world.install(sets);
    Ok(())
}

fn item(words: &[&str]) -> Result<Item, String> {
    let is_option = |name: &str| ["wait", "id", "build"].contains(&name);
    let lines = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| !is_option(name))
        .map(|(feature, units)| Ok((feature.to_owned(), number(units)?)))
        .collect::<Result<Vec<_>, String>>()?;
    Ok(Item {
        lines,
        wait_ms: option(words, "wait").map(duration).transpose()?.unwrap_or(0),
        request: option(words, "id").map(number).transpose()?,
        build: option(words, "build")
            .map(|day| day.parse().map_err(|error| said(&error)))
            .transpose()?,
    })
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words
        .iter()
        .filter_map(|word| word.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|it| it.1)
}

/// `E2..E4` stands for E2 E3 E4.
fn expand(engines: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = engines.split_once("..") else { return Ok(vec![engines.into()]) };
    let at = first.find(|it: char| it.is_ascii_digit()).ok_or("E1..E9 needs numbers")?;
    let (letters, from) = first.split_at(at);
    let to = last.strip_prefix(letters).ok_or("E1..E9 needs the same letters")?;
    Ok((number(from)?..=number(to)?).map(|number| format!("{letters}{number}")).collect())
}

fn duration(text: &str) -> Result<u64, String> {
    if let Some(ms) = text.strip_suffix("ms") {
        return number(ms);
    }
    let seconds = text.strip_suffix('s').ok_or(format!("`{text}`: expected such as 12s, 300ms"))?;
    Ok(number(seconds)? * 1_000)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn said(error: &impl ToString) -> String {
    error.to_string()
}
