"""Working a durable queue: workers, and the jobs that they lease."""
