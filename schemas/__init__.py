"""What crosses a process: events, rewards, policies, products, and the packed forms inside them."""
