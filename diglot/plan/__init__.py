"""What a recipe's training would take on a named cluster: memory, time, money and energy, before anything is started.

follow.py   the shape of every train stage's model, from settings alone
execution.py how a stage runs on its devices
states.py   weights, gradients and moments, parameter by parameter, in each phase
memory.py   bytes a device, by category, at the moment when most are held
ladder.py   one card: settings from the fullest to the leanest, and the fullest that fits
beside.py   evaluations, checkpoints and disk
here.py     the machine at hand, measured
estimate.py FLOPs, throughput, days, cost and energy; the verdict whether it fits
dryrun.py   the real model, sharded over fake ranks on the CPU: bytes a rank
tables.py   all of it for people

for stage in plan_recipe(recipe, graph(recipe, where), where, parse_cluster("a100-80:32x8")):
    print(stage.name, stage.days, stage.memory.total / 2**30, stage.verdict)

Only the command line reads recipes, so the graph and the places of keys are handed in.
"""
