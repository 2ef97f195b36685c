"""The exported file: conversion, per-layer number formats, and reading it back."""
