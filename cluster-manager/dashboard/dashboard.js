// The status page: asks the manager every two seconds and draws what it says. No framework, nothing to build.
const refreshMs = 2000;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function bytes(text) {
  let value = Number(text);
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function nodeCard(node) {
  const dot = element('span', `dot ${node.alive ? (node.suspected ? 'waiting' : 'serving') : 'offline'}`);
  const card = element('article', 'card', element('h3', '', dot, node.name));
  const heard =
    node.heardAgoMs === null ? 'not heard yet' : `heard ${(node.heardAgoMs / 1000).toFixed(1)} s ago`;
  card.append(element('p', '', `${node.address || 'no address yet'} · pid ${node.pid}`));
  card.append(element('p', '', `${heard} · lease ${(node.leaseLeftMs / 1000).toFixed(1)} s`));
  if (node.kind !== 'storage') return card;
  const share =
    Number(node.capacityBytes) > 0 ? (100 * Number(node.usedBytes)) / Number(node.capacityBytes) : 0;
  const used = `${node.targets} targets · ${bytes(node.usedBytes)} of ${bytes(node.capacityBytes)}`;
  const fill = element('span');
  fill.style.width = `${Math.min(100, share)}%`;
  card.append(element('p', '', used), element('div', 'bar', fill));
  const domain = node.domain === '' ? '' : `domain ${node.domain}`;
  const closed = node.closed.length > 0 ? `nothing new on disk ${node.closed.join(', ')}` : '';
  const notes = [domain, closed].filter((note) => note !== '').join(' · ');
  if (notes !== '') card.append(element('p', '', notes));
  return card;
}

function chainRow(chain) {
  const row = element(
    'article',
    'chain',
    element('b', '', `${chain.id}`, element('small', '', `v${chain.version}`)),
  );
  for (const [place, member] of chain.members.entries()) {
    const role = place === 0 && member.state === 'serving' ? ' ◂' : '';
    const synced = member.syncedPercent === null ? '' : ` ${member.syncedPercent} %`;
    const leaves = member.tenure === undefined ? '' : ' →';
    const cell = element('span', `member ${member.state}`, `node ${member.node}${role}${synced}${leaves}`);
    const lacks = Number(member.missingBytes) === 0 ? '' : ', its disk lacks room';
    cell.title = `target ${member.target}: ${member.state}${synced}${lacks}${leaves === '' ? '' : ', leaves'}`;
    row.append(cell);
  }
  return row;
}

function changeLine(change) {
  const waits = change.waitsFor === null ? '' : ` · waits for ${change.waitsFor}`;
  if (change.kind === 'growth') {
    return element('div', '', `growth: ${change.left} new chains left, ${change.moving} made${waits}`);
  }
  const place = change.disk === null ? `node ${change.node}` : `disk ${change.disk} of node ${change.node}`;
  return element(
    'div',
    '',
    `${change.kind} of ${place}: ${change.left} replicas left, ${change.moving} moving${waits}`,
  );
}

function clientLine(client) {
  return element('div', '', `${client.name || client.host} · pid ${client.pid} · ${client.id.slice(0, 8)}`);
}

function show(id, parts, none) {
  document.getElementById(id).replaceChildren(...(parts.length > 0 ? parts : [none]));
}

function say(text, mood) {
  const summary = document.getElementById('summary');
  summary.textContent = text;
  summary.className = mood;
}

async function read(page) {
  const response = await fetch(`/api/${page}.json`);
  if (!response.ok) throw new Error(`${page}: ${response.status}`);
  return response.json();
}

async function draw() {
  const pages = ['cluster', 'nodes', 'chains', 'clients', 'changes'];
  const [cluster, nodes, chains, clients, changes] = await Promise.all(pages.map(read));
  document.getElementById('cluster').textContent = `${cluster.cluster} · routing ${cluster.routingVersion}`;
  show('nodes', nodes.map(nodeCard), 'no node yet');
  show('chains', chains.map(chainRow), 'no chain');
  document.getElementById('changing').hidden = changes.length === 0;
  show('changes', changes.map(changeLine), '');
  show('clients', clients.map(clientLine), 'nobody has mounted it');
  if (cluster.chainsWhole === cluster.chains) say('every copy is serving', 'good');
  else if (cluster.chainsServing === cluster.chains)
    say(`${cluster.chainsWhole} of ${cluster.chains} chains are whole`, 'poor');
  else say(`${cluster.chains - cluster.chainsServing} of ${cluster.chains} chains do not serve`, 'bad');
}

async function loop() {
  try {
    await draw();
  } catch {
    say('the manager does not answer', 'bad');
  }
  setTimeout(loop, refreshMs);
}

void loop();
