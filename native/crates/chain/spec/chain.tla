---------------------------- MODULE chain ----------------------------
\* One chunk on a chain of two members: change of chain, leases, resync (P2, P5, P6, P9; R2, R4).
\* A write's number is its version. Reads must never fall below what was answered or read before.
\* Messages are never taken off the network: each may arrive late, and twice.
EXTENDS Naturals, Sequences

CONSTANTS MaxVersion, MaxWrites, Mutation

VARIABLES
  chains,   \* every version of the chain: s = serving members in order, y = the syncing one or 0
  view,     \* the version that a member knows
  lease,    \* on the member's clock, which ends before the manager's
  stored,   \* committed number
  pending,  \* number that waits for the successor; 0 = none
  session,  \* syncing: 1 + what this session wrote; 0 = nothing yet
  synced,   \* the version for which a member reported to be up to date
  network,  \* messages
  assigned, \* numbers given
  floor,    \* the newest number that a client knows of
  stale     \* a read returned less than that

vars == <<chains, view, lease, stored, pending, session, synced, network, assigned, floor, stale>>

Nodes == {1, 2}
Other(n) == 3 - n
Now == Len(chains)
Max(a, b) == IF a > b THEN a ELSE b
Is(mutation) == Mutation = mutation

Chain(n) == chains[view[n]]
Serves(n) == \E place \in 1..Len(Chain(n).s) : Chain(n).s[place] = n
IsHead(n) == Chain(n).s[1] = n
IsLast(n) == Chain(n).s[Len(Chain(n).s)] = n
Syncs(n) == Chain(n).y = n
Successor(n) == IF Len(Chain(n).s) = 2 THEN Chain(n).s[2] ELSE Chain(n).y

Message(kind, version, number, to) == [kind |-> kind, version |-> version, number |-> number, to |-> to]
SameVersion(n, m) == view[n] = m.version \/ Is("no chain version")

Init ==
  /\ chains = <<[s |-> <<1, 2>>, y |-> 0]>>
  /\ view = [n \in Nodes |-> 1]
  /\ lease = [n \in Nodes |-> TRUE]
  /\ stored = [n \in Nodes |-> 0]
  /\ pending = [n \in Nodes |-> 0]
  /\ session = [n \in Nodes |-> 0]
  /\ synced = [n \in Nodes |-> 0]
  /\ network = {}
  /\ assigned = 0
  /\ floor = 0
  /\ stale = FALSE

\* The head gives a version, stores, and sends on; alone it commits.
Write(n) ==
  /\ IsHead(n) /\ lease[n] /\ pending[n] = 0 /\ assigned < MaxWrites
  /\ assigned' = assigned + 1
  /\ IF Successor(n) = 0
       THEN /\ stored' = [stored EXCEPT ![n] = assigned + 1]
            /\ floor' = assigned + 1
            /\ UNCHANGED <<pending, network>>
       ELSE /\ pending' = [pending EXCEPT ![n] = assigned + 1]
            /\ network' = network \union {Message("forward", view[n], assigned + 1, Successor(n))}
            /\ floor' = IF Is("early ack") THEN assigned + 1 ELSE floor
            /\ UNCHANGED stored
  /\ UNCHANGED <<chains, view, lease, session, synced, stale>>

\* The last one on the way commits and answers. A syncing member takes an update only on a copied chunk.
TakeForward(m) ==
  LET n == m.to IN
  /\ m.kind = "forward" /\ SameVersion(n, m) /\ m.number >= stored[n]
  /\ Serves(n) \/ (Syncs(n) /\ session[n] > 0)
  /\ stored' = [stored EXCEPT ![n] = m.number]
  /\ session' = IF Syncs(n) THEN [session EXCEPT ![n] = m.number + 1] ELSE session
  /\ network' = network \union {Message("ack", m.version, m.number, Other(n))}
  /\ UNCHANGED <<chains, view, lease, pending, synced, assigned, floor, stale>>

TakeAck(m) ==
  LET n == m.to IN
  /\ m.kind = "ack" /\ SameVersion(n, m) /\ pending[n] = m.number
  /\ stored' = [stored EXCEPT ![n] = m.number]
  /\ pending' = [pending EXCEPT ![n] = 0]
  /\ floor' = Max(floor, m.number)
  /\ UNCHANGED <<chains, view, lease, session, synced, network, assigned, stale>>

\* What pends is rolled forward: sent again, or committed by the last serving member (P6).
Learn(n, leased) ==
  LET next == chains[Now]
      serves == \E place \in 1..Len(next.s) : next.s[place] = n
      last == next.s[Len(next.s)] = n
      commits == pending[n] > 0 /\ serves /\ last
      sends == pending[n] > 0 /\ serves /\ ~last
  IN
  /\ view[n] < Now
  /\ view' = [view EXCEPT ![n] = Now]
  /\ lease' = [lease EXCEPT ![n] = lease[n] \/ leased]
  /\ session' = [session EXCEPT ![n] = 0]
  /\ synced' = [synced EXCEPT ![n] = 0]
  /\ stored' = IF commits THEN [stored EXCEPT ![n] = pending[n]] ELSE stored
  /\ floor' = IF commits THEN Max(floor, pending[n]) ELSE floor
  /\ pending' = IF commits THEN [pending EXCEPT ![n] = 0] ELSE pending
  /\ network' = IF sends THEN network \union {Message("forward", Now, pending[n], next.s[2])} ELSE network
  /\ UNCHANGED <<chains, assigned, stale>>

\* A lease comes with the chain, in one message (R4), and only to a member that counts.
Renew(n) ==
  /\ ~lease[n] /\ (view[n] = Now \/ Is("R4"))
  /\ lease' = [lease EXCEPT ![n] = TRUE]
  /\ UNCHANGED <<chains, view, stored, pending, session, synced, network, assigned, floor, stale>>

LeaseEnds(n) ==
  /\ lease[n]
  /\ lease' = [lease EXCEPT ![n] = FALSE]
  /\ UNCHANGED <<chains, view, stored, pending, session, synced, network, assigned, floor, stale>>

Publish(next) ==
  /\ Now < MaxVersion
  /\ chains' = Append(chains, next)
  /\ UNCHANGED <<view, lease, stored, pending, session, synced, network, assigned, floor, stale>>

\* The manager: nobody leaves whose lease may be in force (P1), nobody is promoted for another version (R3).
Remove(n) ==
  /\ ~lease[n] /\ Len(chains[Now].s) = 2
  /\ Publish([s |-> <<Other(n)>>, y |-> 0])

Sync(n) ==
  /\ chains[Now].s = <<Other(n)>> /\ chains[Now].y = 0
  /\ Publish([s |-> <<Other(n)>>, y |-> n])

Promote(n) ==
  /\ chains[Now].y = n /\ synced[n] = Now
  /\ Publish([s |-> <<Other(n), n>>, y |-> 0])

SendReplace(n) ==
  /\ Serves(n) /\ Chain(n).y = Other(n)
  /\ network' = network \union {Message("replace", view[n], stored[n], Other(n))}
  /\ network' /= network
  /\ UNCHANGED <<chains, view, lease, stored, pending, session, synced, assigned, floor, stale>>

\* What a session has written never goes back (R2).
TakeReplace(m) ==
  LET n == m.to IN
  /\ m.kind = "replace" /\ view[n] = m.version /\ Syncs(n)
  /\ m.number + 1 >= session[n] \/ Is("R2")
  /\ stored' = [stored EXCEPT ![n] = m.number]
  /\ session' = [session EXCEPT ![n] = m.number + 1]
  /\ pending' = [pending EXCEPT ![n] = 0]
  /\ UNCHANGED <<chains, view, lease, synced, network, assigned, floor, stale>>

Report(n) ==
  /\ Syncs(n) /\ session[n] > 0 /\ synced[n] /= view[n]
  /\ synced' = [synced EXCEPT ![n] = view[n]]
  /\ UNCHANGED <<chains, view, lease, stored, pending, session, network, assigned, floor, stale>>

\* The last one decides; another one answers what nothing pends on. Who follows a member that does not know
\* of it yet shows nothing.
Settled(n) == IsHead(n) \/ view[Other(n)] >= view[n] \/ Is("no settling")
Read(n) ==
  /\ Serves(n) /\ (lease[n] \/ Is("no lease")) /\ Settled(n)
  /\ IsLast(n) \/ pending[n] = 0
  /\ stale' = (stored[n] < floor)
  /\ floor' = Max(floor, stored[n])
  /\ UNCHANGED <<chains, view, lease, stored, pending, session, synced, network, assigned>>

Next ==
  \/ \E n \in Nodes :
       \/ Write(n) \/ Learn(n, FALSE) \/ Renew(n) \/ LeaseEnds(n)
       \/ Remove(n) \/ Sync(n) \/ Promote(n) \/ SendReplace(n) \/ Report(n) \/ Read(n)
  \/ \E m \in network : TakeForward(m) \/ TakeAck(m) \/ TakeReplace(m)

Spec == Init /\ [][Next]_vars

NeverStale == ~stale

\* Not true: a member leaves, is synced and serves again after both writes. Whoever checks must see it happen.
NeverReturns == ~(Now = 4 /\ Len(chains[Now].s) = 2 /\ floor = 2)
=======================================================================
