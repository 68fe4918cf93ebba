"""
The two energies of the fit and their gradients in closed form, compiled: the twin of `smplify` under autograd.

A rotation is pulled by a torque. Let every joint of a subtree turn by a small d about the subtree's joint: the energy
changes by d . t, where t is the sum of (position from that joint) x (force) over all that hangs there, and the force
on a point is the gradient of the energy by its position. So the way back through the tree adds up forces and torques,
child to parent, and the left Jacobian of the rotation makes an axis-angle gradient of each torque.

Rows of a batch do not know each other. Results are written into the last arguments.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24, index
from hwhup_core.body.priors import BENDS
from hwhup_core.compiled import compiled
from hwhup_core.fitting.energies import CENTER_PX, NEAREST
from hwhup_core.fitting.folding import BELOW, Pairs
from hwhup_core.geometry.rotations import SMALL_ANGLE

PARENTS = np.array(PARENTS_24)
BEND_COLUMNS = np.array([3 * index(joint) + axis for joint, axis, _ in BENDS])
BEND_SIGNS = np.array([sign for _, _, sign in BENDS])


@compiled
def rotation_of(vector: ndarray, rotation: ndarray) -> tuple[float, float]:
    """Write the matrix of an axis-angle vector, row by row, and return (1 - cos a) / a^2 and (a - sin a) / a^3."""
    x, y, z = vector[0], vector[1], vector[2]
    squared = x * x + y * y + z * z
    if squared < SMALL_ANGLE**2:
        sine, cosine, third = 1 - squared / 6, 0.5 - squared / 24, 1 / 6 - squared / 120
    else:
        angle = math.sqrt(squared)
        # Through the half angle 1 - cos a keeps all its digits.
        half_sine, half_cosine = math.sin(0.5 * angle), math.cos(0.5 * angle)
        sine = 2 * half_sine * half_cosine / angle
        cosine = 2 * half_sine * half_sine / squared
        third = (1 - sine) / squared
    rotation[0], rotation[4], rotation[8] = (
        1 - cosine * (y * y + z * z),
        1 - cosine * (x * x + z * z),
        1 - cosine * (x * x + y * y),
    )
    rotation[1], rotation[3] = cosine * x * y - sine * z, cosine * x * y + sine * z
    rotation[2], rotation[6] = cosine * x * z + sine * y, cosine * x * z - sine * y
    rotation[5], rotation[7] = cosine * y * z - sine * x, cosine * y * z + sine * x
    return cosine, third


@compiled
def vector_gradient(vector: ndarray, cosine: float, third: float, torque: ndarray, gradient: ndarray) -> None:
    """Write the transposed left Jacobian of a rotation times a torque: t - c w x t + d w x (w x t)."""
    x, y, z = vector[0], vector[1], vector[2]
    a = y * torque[2] - z * torque[1]
    b = z * torque[0] - x * torque[2]
    c = x * torque[1] - y * torque[0]
    gradient[0] = torque[0] - cosine * a + third * (y * c - z * b)
    gradient[1] = torque[1] - cosine * b + third * (z * a - x * c)
    gradient[2] = torque[2] - cosine * c + third * (x * b - y * a)


@compiled
def add_turned(rotation: ndarray, vector: ndarray, result: ndarray) -> None:
    """Add the turned vector to `result`."""
    for row in range(3):
        first = 3 * row
        result[row] += rotation[first] * vector[0] + rotation[first + 1] * vector[1] + rotation[first + 2] * vector[2]


@compiled
def turn_back(rotation: ndarray, vector: ndarray, result: ndarray) -> None:
    """Write the vector turned by the inverse rotation."""
    for row in range(3):
        result[row] = rotation[row] * vector[0] + rotation[row + 3] * vector[1] + rotation[row + 6] * vector[2]


@compiled
def multiply(left: ndarray, right: ndarray, result: ndarray) -> None:
    """Write the product of two rotations."""
    for row in range(0, 9, 3):
        for column in range(3):
            result[row + column] = (
                left[row] * right[column] + left[row + 1] * right[column + 3] + left[row + 2] * right[column + 6]
            )


@compiled
def add_torque(arm: ndarray, force: ndarray, torque: ndarray) -> None:
    """Add arm x force."""
    torque[0] += arm[1] * force[2] - arm[2] * force[1]
    torque[1] += arm[2] * force[0] - arm[0] * force[2]
    torque[2] += arm[0] * force[1] - arm[1] * force[0]


@compiled
def project(placed: ndarray, focal: float, center: ndarray, pixel: ndarray) -> None:
    """Write the pixel where the crop's camera sees a point, as `energies.project_to_crop` does."""
    distance = max(placed[2], NEAREST)
    pixel[0] = CENTER_PX * (1 + center[0] + focal * placed[0] / distance)
    pixel[1] = CENTER_PX * (1 + center[1] + focal * placed[1] / distance)


@compiled
def pull_back(placed: ndarray, focal: float, pull: ndarray, force: ndarray) -> None:
    """Write the gradient by the point of what has the gradient `pull` by its pixel."""
    distance = max(placed[2], NEAREST)
    slope = CENTER_PX * focal / distance
    force[0], force[1] = slope * pull[0], slope * pull[1]
    force[2] = 0.0
    if placed[2] >= NEAREST:
        force[2] = -(force[0] * placed[0] + force[1] * placed[1]) / distance


@compiled
def camera_gradient(
    variable: Float[ndarray, 'b 6'],
    points: Float[ndarray, 'b k 3'],
    pelvis: Float[ndarray, 'b 3'],
    pixels: Float[ndarray, 'b k 2'],
    torso: Float[ndarray, 'b k'],
    first_distance: Float[ndarray, ' b'],
    focal: Float[ndarray, ' b'],
    center: Float[ndarray, 'b 2'],
    true_share: Float[ndarray, ' b'],
    depth_weight: float,
    energy: Float[ndarray, ' b'],
    gradient: Float[ndarray, 'b 6'],
) -> None:
    """Write what the camera stage minimises; `true_share` is the true distance over the far one."""
    rotation, turned, placed, force, torque = np.empty(9), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    pixel = np.empty(2)
    for sample in range(len(variable)):
        cosine, third = rotation_of(variable[sample], rotation)
        change = variable[sample, 5] - first_distance[sample]
        total = depth_weight * change * change
        torque[:] = 0
        gradient[sample, 3:] = 0
        for point in range(points.shape[1]):
            weight = torso[sample, point]
            if weight == 0:
                continue
            turned[:] = 0
            add_turned(rotation, points[sample, point], turned)
            for axis in range(3):
                placed[axis] = turned[axis] + pelvis[sample, axis] + variable[sample, 3 + axis]
            placed[2] += variable[sample, 5] * (true_share[sample] - 1)
            project(placed, focal[sample], center[sample], pixel)
            pixel -= pixels[sample, point]
            total += weight * (pixel[0] * pixel[0] + pixel[1] * pixel[1])
            pixel *= 2 * weight
            pull_back(placed, focal[sample], pixel, force)
            add_torque(turned, force, torque)
            for axis in range(3):
                gradient[sample, 3 + axis] += force[axis]
        gradient[sample, 5] = gradient[sample, 5] * true_share[sample] + 2 * depth_weight * change
        vector_gradient(variable[sample], cosine, third, torque, gradient[sample])
        energy[sample] = total


@compiled
def turn_joints(
    variable: Float[ndarray, 'b 82'], rotations: Float[ndarray, 'b 24 9'], factors: Float[ndarray, 'b 24 2']
) -> None:
    """Write each joint's rotation in its parent's frame, and the factors of its Jacobian."""
    for sample in range(len(variable)):
        for joint in range(24):
            cosine, third = rotation_of(variable[sample, 3 * joint : 3 * joint + 3], rotations[sample, joint])
            factors[sample, joint, 0], factors[sample, joint, 1] = cosine, third


@compiled
def stand(
    rotations: Float[ndarray, '24 9'],
    rest: Float[ndarray, '24 3'],
    orientations: Float[ndarray, '24 9'],
    joints: Float[ndarray, '24 3'],
) -> None:
    """Write camera-from-joint rotations and joint positions."""
    orientations[0] = rotations[0]
    joints[0] = rest[0]
    bone = np.empty(3, rest.dtype)
    for joint in range(1, 24):
        parent = PARENTS[joint]
        for axis in range(3):
            bone[axis] = rest[joint, axis] - rest[parent, axis]
            joints[joint, axis] = joints[parent, axis]
        add_turned(orientations[parent], bone, joints[joint])
        multiply(orientations[parent], rotations[joint], orientations[joint])


@compiled
def pull_points(
    pairs: Pairs,
    moments: Float[ndarray, 'p 3'],
    orientations: Float[ndarray, '24 9'],
    joints: Float[ndarray, '24 3'],
    translation: Float[ndarray, '3'],
    focal: float,
    center: Float[ndarray, '2'],
    pixels: Float[ndarray, 'k 2'],
    confidence: Float[ndarray, ' k'],
    sigma_squared: float,
    forces: Float[ndarray, '24 3'],
    torques: Float[ndarray, '24 3'],
    moment_gradient: Float[ndarray, 'p 3'],
) -> float:
    """Return the reprojection energy; write forces and torques on the joints and the gradient by the moments."""
    arms = np.empty_like(moments)
    placed, force, pixel = np.empty(3), np.empty(3), np.empty(2)
    total = 0.0
    forces[:], torques[:], moment_gradient[:] = 0, 0, 0
    for point in range(len(pixels)):
        weight = confidence[point] * confidence[point]
        if weight == 0:
            continue
        placed[:] = translation
        for pair in range(pairs.first[point], pairs.first[point + 1]):
            joint, mass = pairs.joint[pair], pairs.mass[pair]
            arms[pair] = 0
            add_turned(orientations[joint], moments[pair], arms[pair])
            for axis in range(3):
                placed[axis] += arms[pair, axis] + mass * joints[joint, axis]
        project(placed, focal, center, pixel)
        for axis in range(2):
            error = pixel[axis] - pixels[point, axis]
            share = sigma_squared / (sigma_squared + error * error)
            total += weight * share * error * error
            pixel[axis] = 2 * weight * share * share * error
        pull_back(placed, focal, pixel, force)
        for pair in range(pairs.first[point], pairs.first[point + 1]):
            joint, mass = pairs.joint[pair], pairs.mass[pair]
            add_torque(arms[pair], force, torques[joint])
            turn_back(orientations[joint], force, moment_gradient[pair])
            for axis in range(3):
                forces[joint, axis] += mass * force[axis]
    return total


@compiled
def gather(
    orientations: Float[ndarray, '24 9'],
    joints: Float[ndarray, '24 3'],
    forces: Float[ndarray, '24 3'],
    torques: Float[ndarray, '24 3'],
    local_torques: Float[ndarray, '24 3'],
    rest_gradient: Float[ndarray, '24 3'],
) -> None:
    """Add forces and torques up from the leaves to the root; write torques in parents' frames and bones' gradients."""
    rest_gradient[:] = 0
    arm, pull = np.empty(3, joints.dtype), np.empty(3, joints.dtype)
    for joint in range(23, 0, -1):
        parent = PARENTS[joint]
        turn_back(orientations[parent], torques[joint], local_torques[joint])
        turn_back(orientations[parent], forces[joint], pull)
        for axis in range(3):
            arm[axis] = joints[joint, axis] - joints[parent, axis]
            rest_gradient[joint, axis] += pull[axis]
            rest_gradient[parent, axis] -= pull[axis]
            forces[parent, axis] += forces[joint, axis]
            torques[parent, axis] += torques[joint, axis]
        add_torque(arm, forces[joint], torques[parent])
    local_torques[0] = torques[0]
    for axis in range(3):
        rest_gradient[0, axis] += forces[0, axis]


@compiled
def pull_bodies(
    pairs: Pairs,
    linear: Float[ndarray, 'b n'],
    rotations: Float[ndarray, 'b 24 9'],
    translation: Float[ndarray, 'b 3'],
    focal: Float[ndarray, ' b'],
    center: Float[ndarray, 'b 2'],
    pixels: Float[ndarray, 'b k 2'],
    confidence: Float[ndarray, 'b k'],
    sigma_squared: float,
    energy: Float[ndarray, ' b'],
    torques: Float[ndarray, 'b 24 3'],
    linear_gradient: Float[ndarray, 'b n'],
) -> None:
    """Write the reprojection energies, torques in parents' frames, and gradients by rest joints and moments."""
    kind = linear.dtype
    orientations, joints = np.empty((24, 9), kind), np.empty((24, 3), kind)
    forces, pulled = np.empty((24, 3), kind), np.empty((24, 3), kind)
    for sample in range(len(linear)):
        rest, moments = linear[sample, :BELOW].reshape(24, 3), linear[sample, BELOW:].reshape(-1, 3)
        rest_gradient = linear_gradient[sample, :BELOW].reshape(24, 3)
        moment_gradient = linear_gradient[sample, BELOW:].reshape(-1, 3)
        stand(rotations[sample], rest, orientations, joints)
        energy[sample] = pull_points(
            pairs, moments, orientations, joints, translation[sample], focal[sample], center[sample], pixels[sample],
            confidence[sample], sigma_squared, forces, pulled, moment_gradient,
        )  # fmt: skip
        gather(orientations, joints, forces, pulled, torques[sample], rest_gradient)


@compiled
def add_feature_torques(
    rotations: Float[ndarray, 'b 24 9'],
    feature_gradient: Float[ndarray, 'b 207'],
    torques: Float[ndarray, 'b 24 3'],
) -> None:
    """Add what pulls at the pose features, which are the entries of the 23 child joints' matrices."""
    for sample in range(len(rotations)):
        for joint in range(1, 24):
            turned = rotations[sample, joint]
            pull = feature_gradient[sample, 9 * (joint - 1) : 9 * joint]
            for axis in range(3):
                one, two = 3 * ((axis + 1) % 3), 3 * ((axis + 2) % 3)
                for column in range(3):
                    torques[sample, joint, axis] += (
                        pull[two + column] * turned[one + column] - pull[one + column] * turned[two + column]
                    )


@compiled
def add_mixture_prior(
    white: Float[ndarray, 'b n'],
    offsets: Float[ndarray, ' m'],
    factors: Float[ndarray, 'm d d'],
    weight: Float[ndarray, ' b'],
    energy: Float[ndarray, ' b'],
    gradient: Float[ndarray, 'b 82'],
) -> None:
    """Add weight times the mixture prior; `white` holds entry e of component m in column e m_count + m."""
    count, size = len(offsets), factors.shape[1]
    squares = np.empty(count, white.dtype)
    for sample in range(len(white)):
        row = white[sample]
        squares[:] = 0
        for entry in range(size):
            for component in range(count):
                squares[component] += row[entry * count + component] * row[entry * count + component]
        best = np.argmin(0.5 * squares + offsets)
        energy[sample] += weight[sample] * (0.5 * squares[best] + offsets[best])
        pull = gradient[sample, 3:72]
        for entry in range(size):
            amount = weight[sample] * row[entry * count + best]
            direction = factors[best, entry]
            for place in range(size):
                pull[place] += amount * direction[place]


@compiled
def finish_body_gradient(
    variable: Float[ndarray, 'b 82'],
    factors: Float[ndarray, 'b 24 2'],
    torques: Float[ndarray, 'b 24 3'],
    beta_gradient: Float[ndarray, 'b 10'],
    angle_weight: float,
    shape_weight: float,
    energy: Float[ndarray, ' b'],
    gradient: Float[ndarray, 'b 82'],
) -> None:
    """Write the gradient of reprojection, angle and shape energies, and add the last two energies."""
    for sample in range(len(variable)):
        row, pull = variable[sample], gradient[sample]
        for joint in range(24):
            cosine, third = factors[sample, joint, 0], factors[sample, joint, 1]
            here = slice(3 * joint, 3 * joint + 3)
            vector_gradient(row[here], cosine, third, torques[sample, joint], pull[here])
        for bend in range(len(BEND_COLUMNS)):
            column, sign = BEND_COLUMNS[bend], BEND_SIGNS[bend]
            steep = angle_weight * math.exp(2 * sign * row[column])
            energy[sample] += steep
            pull[column] += 2 * sign * steep
        for beta in range(10):
            energy[sample] += shape_weight * row[72 + beta] * row[72 + beta]
            pull[72 + beta] = beta_gradient[sample, beta] + 2 * shape_weight * row[72 + beta]


@compiled
def adam_step(
    gradient: Float[ndarray, 'b n'],
    moving: Float[ndarray, '5'],
    step: Float[ndarray, '2'],
    mean: Float[ndarray, 'b n'],
    square: Float[ndarray, 'b n'],
    variable: Float[ndarray, 'b n'],
) -> None:
    """Move the variables as torch.optim.Adam does; `moving` and `step` are of `compiled._adam_table`."""
    keep_mean, new_mean, keep_square, new_square, epsilon = moving
    rate, root = step
    for sample in range(len(variable)):
        for place in range(variable.shape[1]):
            pull = gradient[sample, place]
            mean[sample, place] = keep_mean * mean[sample, place] + new_mean * pull
            square[sample, place] = keep_square * square[sample, place] + new_square * pull * pull
            size = np.sqrt(square[sample, place]) / root + epsilon
            variable[sample, place] -= rate * mean[sample, place] / size
