/*
 * Several processes: one writes to the store and publishes, another follows the feed and answers.
 * Followers share nothing but the store, so one will do. The claim is the bound of the feed, by the
 * clock: an answer is a status that the store had at some time not before
 *
 *	(e) the last change that was published MAXLAG or longer before the request arrived, and
 *	(f) the last change that was made StatusTTL or longer before. TTL 0 is no bound here.
 *
 * Messages are late, doubled, or lost: with the connection, or alone so that the feed notices it.
 * Reads may end long after the store has returned. If LAG is not 0, the process reads a replica of
 * the store, which has each change less than LAG after it was made. No feed helps against that:
 * (e) is not claimed then, and (f) is LAG later.
 *
 * The bounds: ticks 1 to END of the clock, REQUESTS requests one after the other, READS reads,
 * WRITES changes, LEASES leases. Requests that share a read are in process.pml.
 */
#define LEASED
#define TIMED(t) (TTL == 0 -> 0 : t) /* without StatusTTL these times do not matter */
#include "statuses.pml"

byte now = 1;       /* the clock */
byte written[4];    /* when the versions of the store were written; 0: not yet, or TTL is 0 */
byte published[4];  /* when they were published; 0: they are not yet */
byte requests = REQUESTS;

/* The connection of Follow: what is published while it listens, and its own pulses, in order. */
bool listening;
byte sent;          /* when the pulse that is under way was sent; 0: none is */
mtype = { changed, pulse, lost };
chan connection = [4] of { mtype };

/* The clock goes on, as slowly as may be. */
proctype Clock() {
end:
	do
	:: atomic { now < END -> now++ }
	od
}

/* Another process changes a status, and then calls Invalidate, which publishes. A program may also
 * write to the store and have a trigger publish. */
proctype Writer() {
end:
	do
	:: atomic { version < WRITES -> write(); written[version] = TIMED(now) };
		atomic { /* ChangeFeed.Publish */
			nfull(connection) ->
			published[version] = now;
			if
			:: listening -> connection!changed
			:: TROUBLE && listening && len(connection) < 3 -> connection!changed; connection!changed
			:: TROUBLE && listening -> connection!lost
			:: !listening
			fi
		}
	od
}

/* statuses.Memory.BeginLease, called by feedSink.Resync */
inline BeginLease() {
	leaseUntil = 0; /* statuses.Memory.EndLease */
	leaseGen++
}

/* What a ChangeFeed does in Follow, and what feed.follow does around it. */
proctype Follower() {
end:
	do
	:: leaseGen < LEASES && now < END ->
#ifdef RESYNC_BEFORE_LISTENING
		BeginLease();
		listening = true;
#else
		listening = true;
		BeginLease();
#endif
		do
		:: atomic { /* the feed sends itself a pulse */
			sent == 0 && nfull(connection) ->
			sent = now;
			connection!pulse
		   }
		:: atomic { /* feedSink.ValidUntil, statuses.Memory.ExtendLease */
			connection?[pulse] ->
			connection?pulse;
#ifdef LEASE_FROM_RECEIPT
			sent = now;
#endif
			leaseUntil = sent + MAXLAG;
			sent = 0
		   }
		:: connection?changed -> /* feedSink.Changed, statuses.Memory.Invalidate */
#ifndef CHANGES_ARE_IGNORED
			atomic { !locked -> locked = true; forget() };
			atomic { generation++; locked = false }
#endif
		:: connection?lost -> /* the feed has missed something */
			if
			:: leaseGen < LEASES -> BeginLease()
			:: else -> goto broken
			fi
		:: TROUBLE -> goto broken
		od;
broken:
		atomic { /* the connection is lost, and what is under way with it: feedSink.end */
			listening = false;
			do
			:: connection?_
			:: empty(connection) -> break
			od;
			sent = 0;
			leaseUntil = 0 /* statuses.Memory.EndLease */
		}
	od
}

/* statuses.Memory.trusts and lease.covers. The request has loaded until before. */
#ifdef LEASE_END_IS_IGNORED
#define COVERED true
#else
#define COVERED (until != 0 && at < until)
#endif
#ifdef LEASE_GENERATION_IS_IGNORED
#define CURRENT true
#else
#define CURRENT (leaseGen == entryLease)
#endif
#ifdef TTL_IS_IGNORED
#define RECENT true
#else
#define RECENT (TTL == 0 || at - entryAt < TTL)
#endif

/* The versions of which an answer to a request that arrives now may be the first. */
#define HEARD(n) (LAG == 0 && published[n] && published[n] + MAXLAG <= now)
#define DUE(n)   (HEARD(n) || written[n] && written[n] + TTL + LAG <= now)
#define LEAST (DUE(3) -> 3 : (DUE(2) -> 2 : (DUE(1) -> 1 : 0)))

/* Requests: exchange.attempt. The request does not wait for a read that has begun already: it
 * passes it, which is statuses.Read.Pass. */
proctype Request() {
	byte least;      /* the bound of the claim */
	byte at;         /* when the request arrived, as it reads the clock */
	byte look;       /* Look.generation */
	byte status;     /* Look.Status */
	bool trusted;    /* Look.Trusted */
	byte until;
	bool current1;
	byte mine = NIL; /* the read that the request holds */

end:
	atomic { requests > 0 -> requests--; at = now; least = LEAST };

	look = generation; /* statuses.Memory.Look */
	if
	:: entry == NONE -> goto read
	:: atomic { entry != NONE && !locked -> /* statuses.Look.load, in two steps for the lease */
		locked = true;
		status = entry;
#ifdef GENERATION_BEFORE_END
		current1 = CURRENT
#else
		until = leaseUntil
#endif
	   };
	   atomic {
		locked = false;
#ifdef GENERATION_BEFORE_END
		until = leaseUntil;
		trusted = RECENT && COVERED && current1;
#else
		trusted = RECENT && COVERED && CURRENT;
#endif
		if
		:: trusted -> goto stands
		:: else -> goto read
		fi
	   }
	fi;

read:
	atomic { /* statuses.Memory.Begin */
		!locked && ROOM ->
		findCurrent();
		if
		:: current != NIL -> reads[current].passed = true
		:: else
		fi;
		start()
	};
	if
	:: atomic { /* statuses.Read.Result */
		reads[mine].done ->
		status = reads[mine].status;
		look = reads[mine].generation;
		Release(mine)
	   }
	:: atomic { Release(mine); goto over } /* the request waits no longer; the read goes on */
	fi;

stands:
	atomic { /* statuses.Look.Stands, exchange.attempt */
		assert(look != generation || HAD(status, least)) /* (e) and (f) */
	};

over:
	atomic {
		least = 0; at = 0; look = 0; status = NONE; trusted = false; until = 0; current1 = false;
		mine = NIL;
		goto end
	}
}

/* A read, in a goroutine of its own: storeRead.ask. */
proctype StoreRead(byte r) {
end:
	do
	:: atomic { /* source.find */
		RUNS(r) && reads[r].status == NONE -> reads[r].status = history[version]
	   }
	:: atomic { /* source.find, of a replica of the store that has not the last change yet */
		RUNS(r) && reads[r].status == NONE && version > 0 && now < written[version] + LAG ->
		reads[r].status = history[version - 1]
	   }
	:: atomic { /* statuses.Read.End */
		RUNS(r) && reads[r].status != NONE && !locked -> finish(r); Release(r)
	   }
	od
}

init {
	atomic {
		history[0] = GOOD;
		for (i : 0 .. READS - 1) {
			run StoreRead(i)
		}
		run Request();
		run Clock();
		run Writer();
		run Follower()
	}
}
