"""From one machine to a thousand, on paper: measured costs, a queueing simulation, and what gives way first."""
